"""A sentence about an architecture, for specs that have none."""

from collections.abc import Callable, Mapping
from typing import Any

from codegen.language.keys import Mixer, Section
from codegen.language.spec import MIXERS, MLPS, WIRINGS, Spec
from codegen.language.values import expression


def sentence(flat: Mapping[tuple[Any, ...], Spec]) -> str:
    """E.g. `Decoder with attention, gated MLP and rmsnorm; QK-norm, sliding windows.`"""
    specs = list(flat.values())
    parts = [
        _joined({_words(MIXERS, spec.attention) for spec in specs}),
        _joined({_words(MLPS, spec.mlp) for spec in specs}),
        _joined({spec.norm.kind or "rmsnorm" for spec in specs}),
    ]
    features = [name for name, has in FEATURES.items() if any(has(spec) for spec in specs)]
    text = f"Decoder with {parts[0]}, {parts[1]} and {parts[2]}"
    return f"{text}; {', '.join(features)}." if features else f"{text}."


def _words(table: Mapping[str, type], section: Section) -> str:
    """What its kind is called in a sentence: what the section says, else the kind's name."""
    own = section.words if isinstance(section, Mixer) else ""
    return own or next(name for name, cls in table.items() if cls is type(section))


def _joined(words: set[str]) -> str:
    return " or ".join(sorted(words))


def _given(spec: Spec, name: str) -> bool:
    value = getattr(spec.attention, name, None)
    return value is not None and not getattr(value, "is_none", False)


_PARALLEL = expression("x + attention(h) + mlp(h)").text
FEATURES: dict[str, Callable[[Spec], bool]] = {
    "parallel block": lambda spec: spec.block[-1].text == _PARALLEL,
    "post-norm": lambda spec: tuple(f"{e.target} = {e.text}" for e in spec.block) == WIRINGS["post_norm"],
    "sandwich norms": lambda spec: tuple(f"{e.target} = {e.text}" for e in spec.block) == WIRINGS["sandwich"],
    "QK-norm": lambda spec: _given(spec, "qk_norm"),
    "sliding windows": lambda spec: _given(spec, "window"),
    "chunked attention": lambda spec: _given(spec, "chunk"),
    "soft caps": lambda spec: _given(spec, "softcap"),
    "attention sinks": lambda spec: _given(spec, "sinks"),
    "ALiBi": lambda spec: _given(spec, "alibi"),
    "no rotary positions": lambda spec: spec.rope is None,
}
