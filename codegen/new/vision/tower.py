"""The tower of a draft: which class, and what it is given of a batch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from codegen.new.body import Body
from codegen.new.vision.nearest import Candidate
from codegen.new.vision.published import Published

PATCH = "config.vision_config.patch_size"
UNTOLD = "no class tells it"
KEYS = ("tower", "config", "pixels", "inputs", "output", "skip", "grid")


def draft_tower(body: Body, published: Published, ranked: Sequence[Candidate]) -> None:
    """Write `vision`: what the class of transformers tells, and what else a spec says whose tower is given the same."""
    model = published.model
    if not model:
        near = next((one for one in ranked[:1] if one.is_near), None)
        if near is None:
            named = published.tower.get("model_type")
            body.marks["vision",] = f"it is AutoModel's for model type {named!r}, given pixels alone: {UNTOLD}"
        else:
            as_in(body, near, KEYS)
        return
    _by_class(body, model)
    if not model["auto"]:
        body.put(model["tower"], "vision", "tower")
    twin = next((one for one in ranked if _alike(model, one.model)), None)
    if twin is not None:
        as_in(body, twin, ("pixels", "inputs", "grid"))


def _alike(model: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two classes give their towers the same."""
    return all(model.get(name) == other.get(name) for name in ("takes", "batch"))


def as_in(body: Body, spec: Candidate, names: Sequence[str]) -> None:
    """Keys of the tower that a spec has otherwise, marked; how tiles are cut is another matter."""
    found: Any = spec.written.get("vision", {})
    written = cast("dict[str, Any]", found) if isinstance(found, dict) else {"tower": found}
    for name in names:
        if name in written and body.get("vision", name) != written[name] and "real_tiles" not in str(written[name]):
            body.put(written[name], "vision", name, doubt=f"as in {spec.loaded.name}; {UNTOLD}")


def _by_class(body: Body, model: Mapping[str, Any]) -> None:
    batch: list[str] = model.get("batch", [])
    if "pixel_values_images" in batch:
        body.put("pixel_values_images", "vision", "pixels")
    given = {name: text for name in model.get("takes", ()) if (text := _given(name, batch)) is not None}
    for name, text in given.items():
        doubt = None if text in batch else f"{UNTOLD}; it is a mask over patches by its name"
        body.put(text, "vision", "inputs", name, doubt=doubt)
    if given.get("image_sizes") == "image_sizes":
        body.put(
            f"image_sizes // {PATCH}", "vision", "grid", doubt="images are as large as they are, by what it is given"
        )
    elif "spatial_shapes" in given:
        body.put("spatial_shapes", "vision", "grid", doubt="heights and widths in patches, by the name")


def _given(name: str, batch: Iterable[str]) -> str | None:
    """The field of a batch that an argument of a tower is: of its name, or a mask of pixels by patches."""
    same = next((field for field in batch if field == name or field.endswith(f"_{name}")), None)
    masks = [field for field in batch if field in ("pixel_attention_mask", "pixel_mask")]
    if same is not None or not name.endswith("mask") or not masks:
        return same
    return f"patch_mask({masks[0]}, {PATCH})"


def module_inputs(takes: Iterable[str], body: Body, batch: Iterable[str]) -> dict[str, str]:
    """What a projector of transformers is given besides x: masks over patches, and fields of the same name.

    What torch calls `attn_mask` hides where it is true; what transformers calls `attention_mask` shows.
    """
    mask = next((text for text in body.section("vision", "inputs").values() if "patch_mask" in str(text)), None)
    found: dict[str, str] = {}
    for name in takes:
        text = _given(name, batch)
        if "mask" in name and mask:
            text = f"not_(flatten({mask}))" if name == "attn_mask" else f"flatten({mask})"
        if text is not None:
            found[name] = text
    return found
