"""Values in flow style, as a spec might have them: for messages."""

import json
from typing import Any, cast


def flow(value: Any) -> str:
    """`{a: [1, true]}`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(child)}" for name, child in cast("dict[Any, Any]", value).items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, cast("list[Any]", value))) + "]"
    return json.dumps(value) if value in (None, "") or isinstance(value, bool) else str(value)
