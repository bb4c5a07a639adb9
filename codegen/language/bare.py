"""What a bare word in place of a section means, by the section's name: `mlp: plain` is `mlp: {kind: plain}`."""

from collections.abc import Iterator
from functools import cache

from codegen.language.keys import Section, keys
from codegen.language.spec import Spec


def bare_key(section: object) -> str:
    """The key that a bare word stands for: `kind`, or `over` of `qk_norm`, `when` of `renormalize`."""
    return _bare_keys().get(str(section), "kind")


@cache
def _bare_keys() -> dict[str, str]:
    return dict(_found(Spec))


def _found(cls: type[Section]) -> Iterator[tuple[str, str]]:
    for name, key in keys(cls).items():
        if key.bare not in (None, "flag", "*") and key.type != "mapping":
            yield name, str(key.bare)
        for inner in (key.section, *(key.kinds or {}).values()):
            if inner is not None:
                yield from _found(inner)
