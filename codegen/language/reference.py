"""The reference page of the language, written from the declarations themselves."""

from collections.abc import Iterator
from typing import cast

from codegen.catalog import default
from codegen.language.frame import FRAME
from codegen.language.keys import Key, Section, keys
from codegen.language.spec import EXPRESSION_CALLS, FUNCTIONS, READY_KINDS, USUAL_KINDS, WIRINGS, Spec

_HEAD = """# The spec language

Written by `codegen schema --write` from the declarations in `codegen/language`; do not edit.

A spec says what an architecture has; sizes stay in `config.json`. Llama is the default of everything: `name: llama` is
a complete spec. Every value is of one type:

- *choice*: a word of the table, default first; or an expression that yields one;
- *expression*: over `config`, e.g. `config.query_pre_attn_scalar ** -0.5`; `none` means absent;
- *equations*: `name = expression` over tensors, in which parts and norms are called.

Mappings merge key by key in overlays, lists and scalars replace, another `kind` replaces the whole mapping. A bare word
in place of a section is its kind. `why:` may stand beside any key and becomes a comment in the generated code. Keys
marked ° have no template yet.
"""


def reference_page() -> str:
    """docs/spec-reference.md."""
    return "\n".join([_HEAD, *_frame(), *_spec(), *_vocabulary()]) + "\n"


def _frame() -> Iterator[str]:
    yield "## Frame\n"
    yield from _table(("key", "meaning"), [(f"`{name}`", doc) for name, doc in FRAME.items()])


def _spec() -> Iterator[str]:
    yield "\n## Sections\n"
    rows = [(f"`{name}`", _values(key), _shown(default(key)), key.doc) for name, key in keys(Spec).items()]
    rows.append(
        ("`variants`, `layers`", "overlays", "", "`{when: expression, ...}` or `{by: expression, kinds: {...}}`.")
    )
    yield from _table(("key", "values", "default", "meaning"), rows)
    for name, key in keys(Spec).items():
        yield from _section(name, key)


def _section(path: str, key: Key) -> Iterator[str]:
    if key.section is not None:
        yield f"\n### {path}\n"
        yield from _keys(key.section, "")
    for kind, cls in (key.kinds or {}).items():
        ready = "" if kind in READY_KINDS[path] else " °"
        yield f"\n### {path}, kind: {kind}{ready}\n"
        yield f"{_first_line(cls)}\n"
        yield from _keys(cls, "", skip=("kind",))


def _keys(cls: type[Section], prefix: str, skip: tuple[str, ...] = ()) -> Iterator[str]:
    rows = list(_rows(cls, prefix, skip))
    if rows:
        yield from _table(("key", "values", "default", "meaning"), rows)
    else:
        yield "No keys of its own."


def _rows(cls: type[Section], prefix: str, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, key in keys(cls).items():
        if name in skip:
            continue
        mark = "" if key.ready else " °"
        yield f"`{prefix}{name}`{mark}", _values(key), _shown(default(key)), key.doc
        if key.section is not None:
            yield from _rows(key.section, f"{prefix}{name}.")


def _values(key: Key) -> str:
    if key.type == "choice":
        return ", ".join(f"`{word}`" + (" °" if word in key.unready_words else "") for word in key.words)
    if key.type == "mapping" and key.words:
        return (
            "expression, or per role: " + ", ".join(map(str, key.words)) if key.bare else ", ".join(map(str, key.words))
        )
    return {"kinds": "mapping with a kind", "named": "name: mapping with a kind", "section": "mapping"}.get(
        key.type, key.type
    )


def _vocabulary() -> Iterator[str]:
    yield "\n## Words with a meaning of their own\n"
    yield from _table(("wiring", "equations"), [(f"`{name}`", _code(*lines)) for name, lines in WIRINGS.items()])
    yield ""
    usual = [(f"`{name}`", _code(_flow(overlay))) for name, overlay in USUAL_KINDS.items()]
    yield from _table(("kind of layer", "overlay where `kinds` does not list it"), usual)
    yield f"\nFunctions in expressions: {_code(*EXPRESSION_CALLS)}. Functions in equations: {_code(*FUNCTIONS)}."
    yield "`cast(x, weight)` rounds a factor of the embedding to the dtype of its weight, `cast(x, float32)` does not."


def _flow(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    entries = cast("dict[str, object]", value)
    return "{" + ", ".join(f"{name}: {_flow(child)}" for name, child in entries.items()) + "}"


def _code(*items: str) -> str:
    return ", ".join(f"`{item}`" for item in items)


def _shown(text: str | None) -> str:
    return "" if text is None else ", else ".join(f"`{part}`" for part in text.split(", else "))


def _first_line(cls: type[Section]) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
