"""Words of the catalog in place of a field's: what a family means by a word of its own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

READ = re.compile(r"(?:'\w+' if config\.\w+ == '\w+' else )?config\.(\w+)")


def meant(said: Any, words: Sequence[str], before: Mapping[str, Any]) -> Iterator[str]:
    """Each word, where the field that is read holds its word of the first config; that of any other config stays.

    said: the expression that stands there. before: the values of the first config.
    """
    read = READ.fullmatch(said) if isinstance(said, str) else None
    own = before.get(read[1]) if read is not None else None
    if read is not None and isinstance(own, str):
        yield from (f"{word!r} if config.{read[1]} == {own!r} else config.{read[1]}" for word in words if word != own)
