"""Where rows of images go in a draft: placeholders, features after the first layers, positions, who sees whom."""

from collections.abc import Mapping
from typing import Any, cast

from codegen.new.body import Body
from codegen.new.vision.nearest import Candidate
from codegen.new.vision.published import Published

OUTSIDE = "0 if token >= config.text_config.vocab_size else token"
TOKENS = ("image_token_id", "image_token_index", "media_placeholder_token_id")
KINDS = "token_type_ids"  # of tokens: of the text, or of images
UNTOLD = "nothing published tells it"


def draft_merge(body: Body, published: Published, near: Candidate | None) -> None:
    """Write `merge`, `positions` and `mask`."""
    _deepstack(body, published)
    if not placeholders(published):
        body.put(
            0, "merge", "token", doubt="TODO: no field of this config is known to hold the placeholder; a stand-in"
        )
    _lookup(body, published, near)
    _positions(body, published, near)
    _mask(body, published, near)


def placeholders(published: Published) -> dict[str, int]:
    """The ids of placeholders, by the names of their fields."""
    found = {name: published.fields.get(name) for name in TOKENS}
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _deepstack(body: Body, published: Published) -> None:
    name = next((name for name in published.model.get("outputs", ()) if "deepstack" in name), None)
    if name is not None and published.tower.get("deepstack_visual_indexes"):
        body.put(name, "merge", "deepstack")


def _lookup(body: Body, published: Published, near: Candidate | None) -> None:
    token, vocabulary = next(iter(placeholders(published).values()), None), published.text.get("vocab_size")
    written = _section(near, "merge").get("lookup")
    if token is not None and isinstance(vocabulary, int) and token >= vocabulary:
        doubt = "the placeholder lies outside of the vocabulary, and 0 is the usual stand-in"
        body.put(OUTSIDE, "merge", "lookup", doubt=doubt)
    elif written is not None and near is not None:
        body.put(written, "merge", "lookup", doubt=f"as in {near.loaded.name}; {UNTOLD}")


def _positions(body: Body, published: Published, near: Candidate | None) -> None:
    """Along three axes where the class turns its positions so, or the config divides frequencies among them."""
    rope: Any = published.text.get("rope_parameters") or published.text.get("rope_scaling") or {}
    if "axes" in published.model or "mrope_section" in rope:
        order = published.model.get("axes") or ("interleaved" if rope.get("mrope_interleaved") else "chunked")
        doubt = "its table of angles fits neither order" if order == "other" else None
        value = {"kind": "mrope", "order": order} if order == "interleaved" else "mrope"
        body.put(value, "positions", doubt=doubt)
    elif near is not None and (written := _section(near, "positions")) and "kind" not in written:
        body.put(dict(written), "positions", doubt=f"as in {near.loaded.name}; {UNTOLD}")


def _mask(body: Body, published: Published, near: Candidate | None) -> None:
    """Where the model reads kinds of tokens, they say who sees whom: in which way leaves no trace."""
    if KINDS not in published.model.get("batch", ()):
        return
    alike = near is not None and KINDS in near.model.get("batch", ()) and "mask" in near.written
    word = near.written["mask"] if near is not None and alike else "image_blocks"
    body.put(word, "mask", doubt=f"{KINDS} are read: of images (image_blocks), or of a prefix (prefix); {UNTOLD}")


def _section(near: Candidate | None, name: str) -> Mapping[str, Any]:
    found: Any = near.written.get(name) if near is not None else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
