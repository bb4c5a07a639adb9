"""From a published model to the draft of its spec. Nothing that is found there is run."""

from dataclasses import replace
from pathlib import Path

from codegen.configs import table
from codegen.errors import CodegenError
from codegen.new.causal import Drafting, spec_name
from codegen.new.kind import VLM
from codegen.new.language import kind_of, language
from codegen.new.report import Draft
from codegen.new.source import read
from codegen.places import places
from codegen.write.single import write_files


def draft(path: Path, root: Path, name: str | None = None, *, write: bool = True, text: bool = False) -> Draft:
    """Draft `specs/<name>.yaml`; `name` defaults to the model type, without the `_model` that some end with.

    Without `write` nothing is written. With `text` it is the spec of the text of a vision-language model alone.

    Raises:
        CodegenError: the source is missing or broken, or a spec of this name exists.
    """
    source = read(path)
    kind = kind_of(source)
    whole = kind.name == VLM and kind.sees and not text
    inner = source if whole else language(source, kind)
    called = spec_name(name or inner.config["model_type"].removesuffix("_model"))
    target = f"{places(str(root)).specs}/{called}.yaml"
    if write:
        refuse_existing(root, called)
    if whole:
        from codegen.new.vision.drafting import ImageTextDrafting  # nothing of it is needed for text alone

        made = ImageTextDrafting(inner, kind, called, target, root).draft()
    else:
        made = Drafting(inner, kind, called, target, root, table()).draft()
    if write:
        write_files(str(root), {target: made.text.encode()})
    return replace(made, written=write)


def refuse_existing(root: Path, name: str) -> None:
    """Raises CodegenError where a spec of this name exists."""
    specs = places(str(root)).specs
    present = next((path for path in (root / specs).glob("*.y*ml") if path.stem.casefold() == name.casefold()), None)
    if present is not None:
        cure = "edit it, or draft under another name with --name, or only look with --stdout"
        raise CodegenError(f"{specs}/{present.name} exists already and is not overwritten; {cure}")
