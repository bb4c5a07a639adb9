"""What one spec becomes: files, entries in the registry and a row in the documentation's index.

This is the seam between rendering, which knows models, and writing, which knows disks.
"""

from codegen.frozen import Frozen


class Artifact(Frozen):
    """One generated file. `body` lacks the header, which the writer puts before it.

    Attributes:
        path: POSIX path relative to the root, inside one of the output folders.
        body: the text, ending in a newline.
        spec: the spec it comes from (`specs/llama.yaml`), or `specs` for a file made from all of them.
        comment: how a comment starts in this file: `#` (Python, YAML) or `<!--` (Markdown).
    """

    path: str
    body: str
    spec: str
    comment: str = "#"


class RegistryEntry(Frozen):
    """How the registry finds the model.

    Attributes:
        architectures: names under which a checkpoint's config asks for it.
        module: dotted module of the class.
        class_name: the class.
        config: (model_type, module, class) of a generated config class, or None.
        model_type: the type that is this model's alone, or None where another model is the usual one of the type.
        texts: of a model of images and text, `architecture/model type of the text` of what it runs.
    """

    architectures: tuple[str, ...]
    module: str
    class_name: str
    config: tuple[str, str, str] | None = None
    model_type: str | None = None
    texts: tuple[str, ...] = ()


class IndexRow(Frozen):
    """One row of a coverage table; every string is plain text and is escaped when written.

    Attributes:
        index: the Markdown file that holds the table.
        page: link target of the first cell, relative to the index; it identifies the row.
        title: text of the first cell.
        cells: texts of the other cells.
    """

    index: str
    page: str
    title: str
    cells: tuple[str, ...] = ()


class Generated(Frozen):
    """Everything that one spec generates.

    Attributes:
        kind: what kind of model it is, in a few words.
        model_type: of its config, which other models may have too.
        reads: paths of the specs beside its own that it is made of.
    """

    name: str
    artifacts: tuple[Artifact, ...]
    registry: tuple[RegistryEntry, ...] = ()
    index_row: IndexRow | None = None
    kind: str = ""
    model_type: str = ""
    reads: tuple[str, ...] = ()
