"""Where the probability of a field acts in training: at several places at once, as one alone is no nearer; and on what:
on each part, or on the sum of both."""

import ast
from collections.abc import Iterator, Sequence
from itertools import combinations

from codegen.language.keys import keys
from codegen.language.spec import Dropout
from codegen.tiny.configs import is_dropout
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.offer import NEEDED, Offer
from nemo_automodel.parity.mutant import Path

SECTION, NOWHERE = "dropout", 0.0
BLOCK, VARIANTS = "block", "variants"
RESIDUAL, MLP = "residual", "mlp"
MOST = 3  # places of one field


def dropped(candidate: Candidate, changed: Sequence[str]) -> Iterator[Offer]:
    """Sums grouped otherwise; then each field at one place, then at more, and at none of the others.

    changed: the fields by which the config differs from the first.
    """
    for path, lines in _blocks(candidate):
        for index, line in enumerate(lines):
            other = regrouped(line)
            yield from [Offer(((path, [*lines[:index], other, *lines[index + 1 :]]),), NEEDED)] if other else []
    for field in filter(is_dropout, changed):
        reads = f"config.{field}"
        there = [place for place in keys(Dropout) if candidate.body.get(SECTION, place) == reads]
        for count in range(1, MOST + 1):
            for some in combinations(keys(Dropout), count):
                puts = [((SECTION, place), reads) for place in some]
                less = [((SECTION, place), NOWHERE) for place in there if place not in some]
                yield Offer((*less, *puts), NEEDED)
                if RESIDUAL in some and not {MLP} & {*some, *there}:  # which has it from there by itself
                    yield Offer((*less, *puts, ((SECTION, MLP), NOWHERE)), NEEDED)


def _blocks(candidate: Candidate) -> Iterator[tuple[Path, list[str]]]:
    """The equations of layers that are written, of some models too."""
    for path in [(BLOCK,), *((VARIANTS, index, BLOCK) for index in range(len(candidate.body.listed(VARIANTS))))]:
        if isinstance(said := candidate.body.get(*path), list):
            yield path, said
        elif isinstance(said, str) and "=" in said:
            yield path, [said]


def regrouped(line: str) -> str:
    """An equation whose two first terms are a sum that is added to the third: behind it, in parentheses, and the other
    way round; the same number. Nothing of another equation."""
    target, _, value = line.partition("=")
    match ast.parse(value.strip(), mode="eval").body:
        case ast.BinOp(ast.BinOp(one, ast.Add(), other), ast.Add(), ast.Name(last)):
            made = f"{last} + ({ast.unparse(one)} + {ast.unparse(other)})"
        case ast.BinOp(ast.Name(last), ast.Add(), ast.BinOp(one, ast.Add(), other)):
            made = f"{ast.unparse(one)} + {ast.unparse(other)} + {last}"
        case _:
            return ""
    return f"{target.strip()} = {made}"
