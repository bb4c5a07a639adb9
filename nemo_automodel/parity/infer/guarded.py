"""What is true of some layers or variants, put under one more condition: where a field was changed, it may not be."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codegen.language.frame import FRAME
from codegen.new.body import Body
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.offer import DELETED, Offer
from nemo_automodel.parity.infer.plainer import either
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.mutate_text import DROPPED, equation_mutants, lines_of
from nemo_automodel.parity.mutations import OVERLAYS


def guarded(body: Body, conditions: Sequence[str]) -> Iterator[Offer]:
    """Each overlay of a spec under each condition."""
    for name in OVERLAYS:
        entries = body.listed(name)
        for index, entry in enumerate(entries):
            for condition in conditions:
                for others in _under(entry, condition):
                    yield Offer((((name,), [*entries[:index], *others, *entries[index + 1 :]]),), DELETED, True)


def entry_under(body: Body, overlay: str, condition: str) -> tuple[tuple[tuple[Path, Any], ...], Path]:
    """What makes an entry of an overlay under a condition, where there is none, and its path."""
    entries = body.listed(overlay)
    for index, one in enumerate(entries):
        if one.get("when") == condition and isinstance(body.get(overlay), list):
            return (), (overlay, index)
    return (((overlay,), [*entries, {"when": condition}]),), (overlay, len(entries))


def unless(changed: Mapping[str, Any], conditions: Sequence[str]) -> Iterator[str]:
    """That not both hold: a condition on the model, and a word that a changed list has for a layer."""
    lists = ((name, value) for name, value in changed.items() if isinstance(value, list))
    words = [(name, one) for name, value in lists for one in dict.fromkeys(value) if isinstance(one, str)]
    for name, word in words:
        yield from (f"not (config.{name}[layer] == {word!r} and {condition})" for condition in conditions)


def narrowed(body: Body, conditions: Sequence[str]) -> Iterator[Offer]:
    """Each key that is true of all models, of those under a condition alone."""
    for path, value in list(body.leaves()):
        if path[0] in (*OVERLAYS, *FRAME) or isinstance(value, dict):
            continue
        for condition in conditions:
            less = Body.copied(body.content)
            less.drop(*path)
            entries = less.listed("variants")
            variant = Body({"when": condition})
            variant.put(value, *path)
            less.put([*entries, variant.content], "variants")
            yield Offer((), DELETED, True, 1, less.content, f"{'.'.join(map(str, path))} when {condition}")


def lessened(candidate: Candidate, conditions: Sequence[str]) -> Iterator[Offer]:
    """A block without one of its terms, where a condition holds: of a part that some models do not have."""
    if candidate.problems:
        return
    entries = candidate.body.listed("variants")
    for block in dict.fromkeys(tuple(lines_of(flat, "block")) for flat in candidate.flats()):
        for index, line in enumerate(block):
            for other in (other for done, other in equation_mutants(line) if done.startswith(DROPPED)):
                lines = [*block[:index], other, *block[index + 1 :]]
                for condition in conditions:
                    put = ("variants",), [*entries, {"when": condition, "block": lines}]
                    yield Offer((put,), DELETED, True)


def _under(entry: dict[str, Any], condition: str) -> Iterator[list[dict[str, Any]]]:
    if "when" in entry:
        yield [{**entry, "when": f"{_closed(str(entry['when']))} and {condition}"}]
    kinds = entry.get("kinds") or {}
    for kind, said in kinds.items():
        if said:
            others = {name: one for name, one in kinds.items() if name != kind}
            rest = {name: one for name, one in entry.items() if name != "kinds"}
            yield [
                {**rest, **({"kinds": others} if others else {})},
                {"when": f"{condition} and {_closed(entry['by'])} == {kind!r}", **said},
            ]


def joined(line: str, other: str, condition: str) -> Iterator[str]:
    """One equation that is the other under a condition, where a last factor is all that they differ in."""
    if other.startswith(f"{line} * "):
        yield f"{line} * ({other[len(line) + 3 :]} if {condition} else 1.0)"
    elif line.startswith(f"{other} * "):
        yield f"{other} * (1.0 if {condition} else {line[len(other) + 3 :]})"
    elif line != other and line.rpartition(" * ")[0] == (core := other.rpartition(" * ")[0]) != "":
        yield f"{core} * ({other[len(core) + 3 :]} if {condition} else {line[len(core) + 3 :]})"
    else:
        yield from _one_factor_less(line, other, condition, there=False)
        yield from _one_factor_less(other, line, condition, there=True)


def _one_factor_less(line: str, less: str, condition: str, there: bool) -> Iterator[str]:
    """An equation, where another one is it without one factor, with that under a condition. there: whether it is there
    where the condition holds."""
    target, _, value = line.partition("=")
    products = [node for node in ast.walk(ast.parse(value.strip())) if isinstance(node, ast.BinOp)]
    for node in (one for one in products if isinstance(one.op, ast.Mult)):
        whole, core, factor = (ast.unparse(one) for one in (node, node.left, node.right))
        plain = ast.unparse(ast.parse(value.strip()))
        if _plain(f"{target} = {plain.replace(whole, core, 1)}") == _plain(less):
            said = either(condition, factor, "1.0") if there else either(condition, "1.0", factor)
            yield f"{target.strip()} = {plain.replace(whole, f'{core} * ({said})', 1)}"


def _plain(line: str) -> str:
    return ast.unparse(ast.parse(line))


def _closed(text: str) -> str:
    """As an operand of `and` and of `==`."""
    return f"({text})" if any(word in text for word in (" or ", " if ", " == ")) else text
