"""What a bare word in place of a section means, by the section's name: `mlp: plain` is `mlp: {kind: plain}`."""

from collections.abc import Iterator
from functools import cache

from codegen.language.keys import Section, keys
from codegen.language.spec import Spec


def bare_key(section: object, of: type[Section] = Spec) -> str:
    """The key that a bare word stands for: `kind`, or `over` of `qk_norm`, `when` of `renormalize`.

    of: the whole spec's declaration, that of a text spec by itself.
    """
    return _bare_keys(of).get(str(section), "kind")


@cache
def _bare_keys(of: type[Section]) -> dict[str, str]:
    return dict(_found(of))


def _found(cls: type[Section]) -> Iterator[tuple[str, str]]:
    for name, key in keys(cls).items():
        if key.bare not in (None, "flag", "*") and key.type != "mapping":
            yield name, str(key.bare)
        for inner in (key.section, *(key.kinds or {}).values()):
            if inner is not None:
                yield from _found(inner)
