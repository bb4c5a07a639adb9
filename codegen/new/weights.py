"""Tensor names as patterns: what one layer holds, what stands around the layers."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from fnmatch import fnmatchcase

from codegen.frozen import Frozen
from codegen.new.headers import Shape


class Weights(Frozen):
    """A checkpoint's tensors by place. Indices inside a layer (experts) are `*`.

    model, layers: the paths `transformer` and `h` of `transformer.h.0.ln_1.weight`.
    inside: by name in a layer; of several shapes the most frequent one. sometimes: names that some layers lack.
    around: by name inside the base model (`wte.weight`). top: by name beside it (`lm_head.weight`).
    """

    model: str = "model"
    layers: str = "layers"
    inside: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    sometimes: frozenset[str] = frozenset()
    around: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    top: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    headless: bool = False  # names start inside the base model
    each: Mapping[int, Mapping[str, Shape]] = field(default_factory=dict[int, Mapping[str, Shape]])  # by layer

    def without(self, patterns: Iterable[str]) -> "Weights":
        """Without the tensors that a spec drops."""
        dropped = tuple(patterns)

        def kept(tensors: Mapping[str, Shape]) -> dict[str, Shape]:
            return {
                name: shape
                for name, shape in tensors.items()
                if not any(fnmatchcase(f"{self.model}.{self.layers}.0.{name}", pattern) for pattern in dropped)
            }

        each = {number: kept(found) for number, found in self.each.items()}
        return replace(self, inside=kept(self.inside), around=kept(self.around), top=kept(self.top), each=each)

    def only(self, layers: Collection[int]) -> "Weights":
        """Of these layers alone."""
        each = {number: found for number, found in self.each.items() if number in layers}
        return replace(self, each=each, inside=_most_frequent(each), sometimes=_sometimes(each))

    def apart(self, paths: Mapping[int, str]) -> "Weights":
        """Without what lies below a path in single layers."""
        each = {
            number: {name: shape for name, shape in found.items() if not _is_in(name, paths.get(number))}
            for number, found in self.each.items()
        }
        return replace(self, each=each, inside=_most_frequent(each), sometimes=_sometimes(each))


def arrange(tensors: Mapping[str, Shape]) -> Weights:
    """Sort tensors into their places; the longest list of modules is that of the layers."""
    stack = _longest(tensors)
    if not stack:
        return Weights(top=dict(tensors))
    model, _, layers = stack.rpartition(".")
    each: dict[int, dict[str, Shape]] = {}
    outside: dict[str, Shape] = {}
    named = _numbered_apart(tensors)
    for name, shape in tensors.items():
        if stack_of(name) != stack:
            outside[starred(name, named)] = shape
            continue
        index = name[len(stack) + 1 :].partition(".")[0]
        each.setdefault(int(index), {})[starred(name, named)[len(stack) + 3 :]] = shape
    return Weights(
        model=model or "model",
        layers=layers,
        inside=_most_frequent(each),
        sometimes=_sometimes(each),
        around={_below(name, model): shape for name, shape in outside.items() if _is_below(name, model)},
        top={name: shape for name, shape in outside.items() if not _is_below(name, model)},
        headless=not model,
        each=each,
    )


def _most_frequent(each: Mapping[int, Mapping[str, Shape]]) -> dict[str, Shape]:
    """What layers hold by name; of several shapes the most frequent one."""
    shapes: dict[str, Counter[Shape]] = {}
    for found in each.values():
        for name, shape in found.items():
            shapes.setdefault(name, Counter())[shape] += 1
    return {name: max(found, key=lambda one: (found[one], one or ())) for name, found in sorted(shapes.items())}


def _sometimes(each: Mapping[int, Mapping[str, Shape]]) -> frozenset[str]:
    """Names that some layers lack."""
    places = Counter(name for found in each.values() for name in found)
    return frozenset(name for name, count in places.items() if count < len(each))


def _is_in(name: str, path: str | None) -> bool:
    return path is not None and name.startswith(f"{path}.")


def within(tensors: Mapping[str, Shape], layers: object) -> tuple[dict[str, Shape], list[str]]:
    """The tensors without layers at or beyond the number that the config says, and a note on those.

    Such layers predict tokens beyond the next; nothing of them belongs in a spec.
    """
    if not isinstance(layers, int) or layers < 1 or not (stack := _longest(tensors)):
        return dict(tensors), []
    indices = {name: int(name[len(stack) + 1 :].partition(".")[0]) for name in tensors if stack_of(name) == stack}
    beyond = sorted({index for index in indices.values() if index >= layers})
    kept = {name: shape for name, shape in tensors.items() if indices.get(name, -1) < layers}
    shown = ", ".join(map(str, beyond[:8]))
    note = f"layers {shown} of {stack} lie at or beyond num_hidden_layers (next-token prediction): left out"
    return kept, [note] if beyond else []


def starred(name: str, named: Collection[str] = ()) -> str:
    """A name with `*` in place of indices; numbers below what is `named` are names."""
    parts = name.split(".")
    return ".".join(
        "*" if part.isdigit() and ".".join(parts[:at]) not in named else part for at, part in enumerate(parts)
    )


def _numbered_apart(tensors: Mapping[str, Shape]) -> set[str]:
    """Modules whose numbered parts lie in layers and are no list: with a gap between them, each has other shapes."""
    found: dict[str, dict[int, dict[str, Shape]]] = {}
    for name, shape in tensors.items():
        parts = name.split(".")
        at = [index for index, part in enumerate(parts) if part.isdigit()]
        if len(at) > 1:
            below = found.setdefault(".".join(parts[: at[-1]]), {}).setdefault(int(parts[at[-1]]), {})
            below[".".join(parts[at[-1] + 1 :])] = shape
    return {name for name, parts in found.items() if len(parts) < max(parts) + 1 and _differ(list(parts.values()))}


def _differ(parts: Sequence[Mapping[str, Shape]]) -> bool:
    return any(part != parts[0] for part in parts)


def _longest(tensors: Iterable[str]) -> str:
    """The stack with the most tensors; empty where there is none."""
    stacks = Counter(stack for name in tensors if (stack := stack_of(name)))
    return max(sorted(stacks), key=lambda one: stacks[one], default="")


def stack_of(name: str) -> str:
    """What stands before the first index."""
    parts = name.split(".")
    at = next((index for index, part in enumerate(parts) if part.isdigit()), 0)
    return ".".join(parts[:at])


def _is_below(name: str, model: str) -> bool:
    return not model or name.startswith(f"{model}.")


def _below(name: str, model: str) -> str:
    return name[len(model) + 1 :] if model else name
