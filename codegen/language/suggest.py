"""Did-you-mean for every word that a person can mistype."""

from collections.abc import Iterable
from difflib import get_close_matches

from codegen.errors import cut

_LISTED, _BEGINNING, _LONGEST = 16, 8, 100


def nearest(word: object, known: Iterable[object]) -> str | None:
    """The known word that looks most like this one, if any does."""
    names, word = [str(name) for name in known], str(word)[:_LONGEST]
    found = get_close_matches(word, names, n=1, cutoff=0.6) or get_close_matches(word.lower(), names, n=1)
    return found[0] if found else None


def cure(word: object, known: Iterable[object], what: str = "known") -> str:
    """`did you mean 'gqa'?`, or the list of what is known, or its beginning, where nothing is near."""
    names = [str(name) for name in known]
    found = nearest(word, names)
    if found is not None:
        return f"did you mean '{cut(found)}'?"
    listed = [cut(name) for name in names]  # a person may have made them up
    if len(names) > _LISTED:
        return f"{what}: {', '.join(listed[:_BEGINNING])}, ... ({len(names)} in all)"
    return f"{what}: {', '.join(listed)}" if names else "remove it"
