"""Bringing a draft to what checks, and naming what it relies on without writing it."""

from collections.abc import Callable
from typing import Any

from codegen.errors import SpecError
from codegen.language.flow import flow
from codegen.new.body import Body, Path
from codegen.new.witness import whole

Check = Callable[[Body], SpecError | None]
Strays = Callable[[Body], int]  # how many tensors a draft does not explain, or expects in vain
ROUNDS = 20  # of taking out what does not suit; each takes out one key at least
_LOOSE = ("norm", "rope", "attention", "mlp", "embedding", "dropout", "positions", "layers", "variants")


def suit(body: Body, check: Check, nearest: str) -> tuple[list[str], SpecError | None]:
    """Take out inherited keys until the draft checks: what was taken out, and what is still wrong."""
    taken: list[str] = []
    error = check(body)
    for _ in range(ROUNDS):
        more = [] if error is None else _settle(body, error, nearest)
        if not more:
            break
        taken += more
        error = check(body)
    return taken, error


def distrust(body: Body, check: Check, strays: Strays, nearest: str) -> list[str]:
    """Give unseen keys of a distant nearest spec Llama's defaults where those check; says what that spec has.

    What explains tensors is seen.
    """
    lines: list[str] = []
    for path in sorted(body.marks, key=lambda one: tuple(map(str, one))):
        if path[0] not in _LOOSE or "block" in path or not body.marks[path].startswith("as in "):
            continue
        value, trial = body.get(*path), Body.copied(body.content)
        trial.drop(*path)
        if check(trial) is None and strays(trial) <= strays(body):
            body.drop(*path)
            lines.append(
                f"{'.'.join(map(str, path))} is the default; {nearest} has {flow(value)}, and is not near enough"
            )
    return lines


def unwritten(body: Body, said: list[str]) -> list[str]:
    """Defaults of Llama that the draft relies on and that leave no trace either; not those that are `said` already."""
    lines: list[str] = []
    kind = body.section("norm").get("kind", "rmsnorm")
    if body.get("block") is None and not any("block" in path for path, _ in body.leaves()):
        lines.append("block is pre_norm: the norms' names agree, the wiring leaves no trace")
    if kind == "rmsnorm" and body.get("norm", "cast") is None:
        lines.append("norm.cast is before_weight: seen in bfloat16 only")
    if body.get("norm", "offset") is None:
        lines.append("norm.offset is 0: 1 would look the same")
    if body.get("rope") != "none" and body.get("rope", "layout") is None:
        lines.append("rope.layout is half: interleaved would look the same")
    if body.get("input") is None:
        lines.append("the embedding is not scaled")
    if body.section("mlp").get("kind") == "moe" and body.get("mlp", "router", "score") is None:
        lines.append("mlp.router.score is softmax and mlp.router.order score_first: neither leaves a trace")
    return [line for line in lines if line.split()[0] not in {one.split()[0] for one in said}]


def _settle(body: Body, error: SpecError, nearest: str) -> list[str]:
    """One round: the written keys at which something is wrong; empty if nothing can be taken out."""
    taken: list[str] = []
    doomed: dict[Path, str] = {}
    for problem in error.problems:
        if problem.message.startswith("is not written"):
            taken += _fill(body, problem.path)
        elif (path := _written(body, problem.path)) is not None:
            doomed.setdefault(path, problem.message)
    doomed = {path: why for path, why in doomed.items() if not any(path[:end] in doomed for end in range(1, len(path)))}
    for path in sorted(doomed, key=lambda one: tuple(map(str, one)), reverse=True):  # later elements of a list first
        if path != ("checkpoint", "fused") or not _ungroup(body, nearest):
            body.drop(*path)
        taken.append(f"{'.'.join(map(str, path))}: {nearest} has it, here it does not do: {doomed[path]}")
    return taken


# Stand-ins for what no field holds.
_FILL: dict[str, tuple[tuple[str, ...], Any]] = {
    "norm.eps": (("norm", "eps"), 1.0e-5),
    "mlp.activation": (("mlp", "activation"), "gelu"),
    "mlp.width": (("mlp", "width"), "4 * config.hidden_size"),
    "mlp.experts.width": (("mlp", "experts", "width"), "config.intermediate_size"),
    "rope.parameters": (("rope",), "none"),
}


def _fill(body: Body, dotted: str) -> list[str]:
    """Write a stand-in, marked, for a key that must be written here; nothing where there is none."""
    path, value = _FILL.get(dotted, ((), None))
    if not path:
        return []
    body.put(value, *path, doubt="no field of this config is known to hold it; a stand-in")
    return [f"{dotted}: no field of this config is known to hold it"]


def _ungroup(body: Body, nearest: str) -> bool:
    """Fused rows without the grouping that does not suit."""
    found = False
    for name in body.section("checkpoint", "fused"):
        if body.get("checkpoint", "fused", name, "groups") is not None:
            parts = body.listed("checkpoint", "fused", name, "parts")
            body.put(parts, "checkpoint", "fused", name, doubt=f"{nearest} groups the rows by a field that is not here")
            found = True
    return found


def _written(body: Body, dotted: str) -> Path | None:
    """The deepest written key on the way to a problem, with what goes with it."""
    path: Path = ()
    for part in dotted.split("."):
        step: Any = int(part) if part.isdigit() and isinstance(body.get(*path), list) else part
        if not path and step not in body.content:
            return None
        if path and body.get(*path, step) is None:
            break
        path = (*path, step)
    return whole(path) if path else None
