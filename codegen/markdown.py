"""Plain text in Markdown: whatever a spec says, it stays text."""

import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&])")


def escaped(text: str) -> str:
    """Plain text on one line, with no mark-up in it; fits a table cell too."""
    printable = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    return _SPECIAL.sub(r"\\\1", " ".join(printable.split()))
