"""What a draft says of its tests: sizes that go with widths, and checkpoints that the reference reads alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.language.vision.loaded import LoadedImageText
from codegen.new.vision.nearest import Candidate
from codegen.new.vision.published import TEXT, TOWER, Published
from codegen.tiny.image_text import configs

_DISK = ("disk", "why")


def tests(published: Published, loaded: LoadedImageText, stored: Candidate | None) -> dict[str, Any]:
    """The section `tests`; empty where there is nothing to say.

    stored: the spec whose tower lies on disk as this one's, where its class calls tensors otherwise.
    """
    base = configs(loaded)["base"]
    widths = {
        published.tower_width: base[TOWER].get("hidden_size"),
        published.text_width: base[TEXT].get("hidden_size"),
    }
    tiny: dict[str, Any] = dict(_equal(published.fields, base, widths))
    if inner := dict(_equal(published.tower, base[TOWER], widths)):
        tiny[TOWER] = inner
    found: dict[str, Any] = {"tiny": tiny} if tiny else {}
    if stored is not None and published.model:
        found |= {name: stored.loaded.tests[name] for name in _DISK if name in stored.loaded.tests}
    return found


def _equal(fields: Mapping[str, Any], given: Mapping[str, Any], widths: Mapping[int, Any]) -> Iterator[tuple[str, int]]:
    """Fields that hold a width of the text or of the tower, and that tests leave at their defaults otherwise."""
    for name, value in fields.items():
        if type(value) is int and isinstance(widths.get(value), int) and name not in given and len(widths) > 1:
            yield name, widths[value]
