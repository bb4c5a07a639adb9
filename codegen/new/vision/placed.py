"""Which tensors of a checkpoint are the text's, the tower's and the projector's, and where each part begins."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from codegen.frozen import Frozen
from codegen.new.headers import Shape
from codegen.new.kind import TOWER
from codegen.new.language import text_tensors
from codegen.new.weights import arrange
from codegen.plan.vision.disk import PREFIXES

_OTHERS = re.compile(r"video|audio|speech|sound")  # towers that no spec of images has
_BETWEEN = re.compile(r"projector|projection|connector|aligner|adapter|merger")
_PIXELS = 4  # dimensions of the weight that takes pixels in, at least


class Placed(Frozen):
    """Tensors by part, under their names inside it; `vectors` lie beside the projector.

    prefixes: where the parts begin on disk, those that tensors show. rest: modules that are no part.
    """

    text: Mapping[str, Shape]
    tower: Mapping[str, Shape]
    projector: Mapping[str, Shape]
    vectors: Mapping[str, Shape]
    prefixes: Mapping[str, str]
    rest: tuple[str, ...] = ()


def place(tensors: Mapping[str, Shape], text: Mapping[str, Any], width: object, beside: Iterable[str]) -> Placed:
    """Sort a checkpoint's tensors.

    text: the config of the text. width: of the tower, where known. beside: names of modules beside tower and text, as
    the class has them.
    """
    language = text_tensors(tensors, text.get("num_hidden_layers"))
    groups = _groups({name: shape for name, shape in tensors.items() if name not in language})
    vectors = {name: shape for name, shape in tensors.items() if name in groups and shape is not None}
    groups = {path: found for path, found in groups.items() if path not in tensors}
    tower = _tower(groups)
    projector = _projector(groups, tower, text.get("hidden_size"), width, set(beside))
    prefixes = dict(_of_text(language))
    if tower is not None:
        prefixes["vision"] = tower
    if projector is not None:
        prefixes["projector"] = projector
    return Placed(
        language,
        groups.get(tower or "", {}),
        groups.get(projector or "", {}),
        {name: shape for name, shape in vectors.items() if len(shape or ()) == 1},
        prefixes,
        tuple(path for path in groups if path not in (tower, projector)),
    )


def _groups(tensors: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """Tensors by the module in which they lie: right below the whole, or below its base model."""
    found: dict[str, dict[str, Shape]] = {}
    for name, shape in sorted(tensors.items()):
        parts = name.split(".")
        depth = 2 if parts[0] == "model" and len(parts) > 1 else 1
        found.setdefault(".".join(parts[:depth]), {})[".".join(parts[depth:])] = shape
    return found


def _of_text(language: Mapping[str, Shape]) -> Iterable[tuple[str, str]]:
    """Where the text model and its head begin; a head that is tied lies where those without a tensor do."""
    if not language:
        return
    model = arrange(language).model
    yield "text", model
    beside = [name.removesuffix(".weight") for name in language if not name.startswith(f"{model}.")]
    whole = model.removesuffix("model").removesuffix(".")
    yield "head", beside[0] if beside else f"{whole}.lm_head".removeprefix(".") if model != whole else "lm_head"


def _tower(groups: Mapping[str, Mapping[str, Shape]]) -> str | None:
    """The module that takes pixels in, or is called so; of several one whose name says neither video nor sound."""
    takes = [path for path, found in groups.items() if any(len(shape or ()) >= _PIXELS for shape in found.values())]
    ranked = sorted(takes, key=lambda path: (not TOWER.search(path), bool(_OTHERS.search(path)), -len(groups[path])))
    named = [path for path in groups if TOWER.search(path) and not _BETWEEN.search(path) and not _OTHERS.search(path)]
    return next(iter(ranked or named), None)


def _projector(
    groups: Mapping[str, Mapping[str, Shape]], tower: str | None, hidden: object, width: object, beside: set[str]
) -> str | None:
    """The module between tower and text: it reads what is as wide as the tower, and gives what is as wide as the text.

    Of several, one that the class has or whose name says so. One that the class has may read rows of another width.
    """

    def leads(path: str, found: Mapping[str, Shape]) -> bool:
        sizes = [size for shape in found.values() for size in shape or ()]
        wide = not isinstance(width, int) or any(size % width == 0 for size in sizes)
        return any(size == hidden for size in sizes) and (wide or path.rpartition(".")[2] in beside)

    others = [
        path for path, found in groups.items() if path != tower and leads(path, found) and not _OTHERS.search(path)
    ]
    ranked = sorted(others, key=lambda path: (path.rpartition(".")[2] not in beside, not _BETWEEN.search(path), path))
    return ranked[0] if ranked else None


def written(prefixes: Mapping[str, str]) -> dict[str, str]:
    """The prefixes that are not the usual ones."""
    return {part: path for part, path in prefixes.items() if path != PREFIXES[part]}
