"""The reference page of the language, written from the declarations themselves."""

from collections.abc import Iterator
from typing import cast

from codegen.catalog import default
from codegen.language.frame import FRAME
from codegen.language.keys import Key, Section, keys
from codegen.language.spec import EXPRESSION_CALLS, FUNCTIONS, READY_KINDS, USUAL_KINDS, WIRINGS, Spec
from codegen.language.vision import equations, tensors
from codegen.language.vision.sections import ImageTextSpec

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

_IMAGES = """Such a spec puts a vision tower and a projector before the text model of another spec. Llava is the
default of everything: `name: llava` is a complete one. It has the frame above without `overrides`, and these
sections instead of those of text. Two more types of value: *tensor* and *tensors* are expressions over the fields of
a batch or of what a tower returns, *projection* is equations `x -> x` over rows of patches, in which a name that is
neither a function nor among `parts` is a linear map. Widths follow from what is read. `text.spec`, `vision.tower`
and `processor.class` may stand in place of their section.
"""
_MEANINGS = {
    "merge_patches": "`(x, n)` or `(x, n, order)`: n x n neighbours become one row.",
    "avg_pool": "`(x, n)`: the mean of n x n neighbours.",
    "pack_tiles": "`(x, newline, max_tiles)`: the tiles of an image as one picture, a newline behind each line.",
    "chunk": "`a, b = chunk(x, 2)`: two halves of each row.",
    "act": "The activation that `config.projector_hidden_act` names.",
    "real_images": "`(x)` or `(x, like)`: [B, N, ...] without the images that are padding.",
    "real_tiles": "`(x)`: the tiles of all images, one after the other.",
    "patch_mask": "`(mask, patch)` or `(mask, patch, all)`: which patches have any real pixel, or only such.",
    "flatten": "`(x)`: all axes but the first as one.",
    "not_": "`(x)`: the other way round.",
    "with_time": "`(sizes)`: heights and widths with one frame before them.",
}


def reference_page() -> str:
    """docs/spec-reference.md."""
    return "\n".join([_HEAD, *_frame(), *_spec(), *_vocabulary(), *_images()]) + "\n"


def _frame() -> Iterator[str]:
    yield "## Frame\n"
    yield from _table(("key", "meaning"), [(f"`{name}`", doc) for name, doc in FRAME.items()])


def _spec() -> Iterator[str]:
    overlays = "`{when: expression, ...}` or `{by: expression, kinds: {...}}`."
    yield "\n## Sections\n"
    yield from _sections(Spec, [("`variants`, `layers`", "overlays", "", overlays)])


def _sections(language: type[Section], further: list[tuple[str, ...]], of: str = "") -> Iterator[str]:
    """The keys of a language, then what each holds; `of` stands before the headings of the latter."""
    rows = [(f"`{name}`", _values(key), _shown(default(key)), key.doc) for name, key in keys(language).items()]
    yield from _table(("key", "values", "default", "meaning"), [*rows, *further])
    for name, key in keys(language).items():
        yield from _section(name, key, of)


def _section(path: str, key: Key, of: str) -> Iterator[str]:
    if key.section is not None:
        yield f"\n### {of}{path}\n"
        yield from _keys(key.section, "")
    for kind, cls in (key.kinds or {}).items():
        ready = "" if of or kind in READY_KINDS[path] else " °"
        yield f"\n### {of}{path}, kind: {kind}{ready}\n"
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
    yield "`softcap(x, cap)` bends x into its bounds, `act(x, name)` is the activation of that name: fields give both."
    yield "`cast(x, weight)` rounds a factor of the embedding to the dtype of its weight, `cast(x, float32)` does not."


def _images() -> Iterator[str]:
    """The language of images and text."""
    yield f"\n## Images and text\n\n{_IMAGES}"
    yield from _sections(ImageTextSpec, [], of="Images and text: ")
    yield "\n### Images and text: words with a meaning of their own\n"
    called = [(f"`{name}`", _MEANINGS[name]) for name in equations.FUNCTIONS]
    yield from _table(("in the projector", "meaning"), called)
    yield f"\nOrders of merged patches: {_code(*equations.ORDERS)}. Activations, as transformers has them:"
    yield f"{_code(*equations.ACTIVATIONS)}.\n\nFields of a batch: {_code(*tensors.FIELDS)}."
    yield f"Of a tower's output: {_code(*tensors.OUTPUTS)}, and further attributes by name. Functions on both:\n"
    yield from _table(("over tensors", "meaning"), [(f"`{name}`", _MEANINGS[name]) for name in tensors.CALLS])


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
