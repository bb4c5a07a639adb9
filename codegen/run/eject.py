"""Turn the generated files of one model into a person's own: the last resort when a spec cannot say what is needed."""

import os
from pathlib import Path

from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.places import places
from codegen.run.tree import Tree
from codegen.write.ownership import header, without_header
from codegen.write.single import write_files


class Ejected(Frozen):
    """What `eject` did.

    Attributes:
        owned: files that lost their header and are yours now.
        moved_to: where the spec was put aside; codegen reads nothing there.
        kept: files that people own, in which the model's entries stay.
    """

    name: str
    spec: str
    moved_to: str
    owned: tuple[str, ...]
    kept: tuple[str, ...]

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            *(f"{path}: is yours now (header removed)" for path in self.owned),
            f"{self.spec}: moved to {self.moved_to}, where codegen does not read it",
            *(f"{path}: entries of {self.name} stay" for path in self.kept),
        ]


def eject(root: str, name: str) -> Ejected:
    """Hand all files that `specs/<name>.yaml` generated over, edited by hand or not.

    Raises:
        CodegenError: there is no such spec, it has generated nothing, or specs of images and text stand over it.
        ConflictError, WriteError: as for every commit; nothing was written.
    """
    at, tree = places(root), Tree(root, 0)
    spec, moved_to = f"{at.specs}/{name}.yaml", f"{at.specs}/ejected/{name}.yaml"
    text = tree.read(spec) if name.isidentifier() else None
    if text is None:
        raise CodegenError(f"there is no {spec}; `codegen list` shows the specs")
    if tree.read(moved_to) is not None:
        raise CodegenError(f"{moved_to} exists already; remove or rename it first")
    contents = {path: tree.read(path) or b"" for path in tree.outputs()}
    ours = {path: without_header(data) for path, data in contents.items() if _is_from(data, spec)}
    if not ours:
        raise CodegenError(f"{spec} has generated nothing yet; run `codegen apply` first")
    from codegen.run.over import over  # reads specs, which takes imports that other commands do without

    if above := over(Path(root), name):
        cure = f"eject {' and '.join(above)} first, or put another text there"
        raise CodegenError(f"{spec} is the text of {', '.join(above)}, which could not be generated without it; {cure}")
    write_files(root, {**ours, spec: None, moved_to: text})
    kept = tuple(path for path in (at.registry, *at.indexes) if os.path.exists(tree.absolute(path)))
    return Ejected(name, spec, moved_to, tuple(sorted(ours)), kept)


def _is_from(data: bytes, spec: str) -> bool:
    found = header(data)
    return found is not None and found.spec == spec
