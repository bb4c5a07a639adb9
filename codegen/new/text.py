"""A draft as the text of a spec file: flow style where it fits, every uncertain choice under a comment."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from codegen.language.schema import NAMED
from codegen.new.body import Body

WIDTH = 118
ORDER = (
    *("text", "vision", "projector", "merge"),
    *("input", "norm", "rope", "attention", "mlp", "block", "variants", "layers", "head", "output", "parts"),
    *("positions", "mask", "checkpoint", "processor", "embedding", "dropout"),
)


def spec_text(frame: Mapping[str, Any], doubts: Mapping[str, str], body: Body, trailing: list[str]) -> str:
    """The file. `doubts` are those about keys of the frame; `trailing` those about what is not written."""
    lines = [NAMED]
    for name, value in frame.items():
        lines += [_comment(doubts[name])] if name in doubts else []
        lines.append(_entry(name, value))
    for name in sorted(body.content, key=lambda one: (ORDER.index(one) if one in ORDER else len(ORDER), one)):
        lines += [_comment(text) for text in _doubts(body, name)]
        lines.append(_entry(name, body.content[name]))
    lines += [_comment(text) for text in trailing]
    return "\n".join(lines) + "\n"


def _doubts(body: Body, section: str) -> list[str]:
    """The marks below a top-level key: keys that are uncertain for one reason share a line."""
    reasons: dict[str, list[str]] = {}
    for path, why in sorted(body.marks.items(), key=lambda item: tuple(map(str, item[0]))):
        if path[0] == section:
            reasons.setdefault(why, []).append(".".join(map(str, path)))
    return [f"{', '.join(keys)}: {why}" for why, keys in reasons.items()]


def _comment(text: str) -> str:
    return "# uncertain: " + re.sub(r"[^\x20-\x7e]+", " ", text)


def _entry(name: Any, value: Any, indent: int = 0) -> str:
    """`name: value` on one line if it fits; else mappings key by key, lists item by item, words wrapped."""
    room = WIDTH - indent
    if isinstance(value, dict | list) and value:
        flow = _dumped(name, value, True, WIDTH * 100)[1:-1]
        if len(flow) <= room:
            return " " * indent + flow
        if isinstance(value, list):
            return _listed(name, cast("list[Any]", value), indent)
        entries = cast("dict[Any, Any]", value)
        if _is_flat(entries):
            return _shifted(_dumped(name, entries, True, room)[1:-1], indent)
        return "\n".join([_key(name, indent), *(_entry(one, child, indent + 2) for one, child in entries.items())])
    return _shifted(_dumped(name, value, False, room), indent)


def _listed(name: Any, items: list[Any], indent: int) -> str:
    """One item a line; a mapping that does not fit has its keys below each other."""
    lines = [_key(name, indent)]
    for item in items:
        flow = _dumped("_", item, True, WIDTH * 100)[1:-1].removeprefix("_: ")
        if not isinstance(item, dict) or len(flow) + indent + 4 <= WIDTH:
            shown = flow if isinstance(item, dict | list) else _dumped("_", item, False, WIDTH).removeprefix("_: ")
            lines.append(_shifted(f"- {shown}", indent + 2))
            continue
        entries = cast("dict[Any, Any]", item)
        below = "\n".join(_entry(one, child, indent + 4) for one, child in entries.items())
        lines.append(f"{' ' * (indent + 2)}- {below[indent + 4 :]}")
    return "\n".join(lines)


def _is_flat(entries: dict[Any, Any]) -> bool:
    """Whether this is a table of plain values, as the fields of a config are: more than a few, hardly nested."""
    return len(entries) > 4 and not any(
        isinstance(value, str) and len(value) > WIDTH // 2 for value in entries.values()
    )


def _dumped(name: Any, value: Any, flow: bool, width: int) -> str:
    import yaml

    options: dict[str, Any] = {"default_flow_style": flow, "width": width, "sort_keys": False}
    return str(yaml.dump({name: value}, Dumper=_dumper(), **options)).rstrip("\n")  # pyright: ignore


@cache
def _dumper() -> Any:
    """PyYAML's, which quotes whatever may be taken for a number: specs read more as numbers than YAML 1.1 does."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: Any, value: str) -> Any:
        style = "'" if value[:1].isdigit() or value[:1] in ("+", "-", ".") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


def _key(name: Any, indent: int) -> str:
    """The line that opens a block."""
    key = _dumped(name, {}, True, WIDTH * 100)[1:-1].removesuffix(": {}")
    return f"{' ' * indent}{key}:"


def _shifted(text: str, indent: int) -> str:
    first, *rest = text.split("\n")
    return "\n".join([" " * indent + first, *(" " * (indent + 2) + line.strip() for line in rest)])
