"""Every kind of mixer, and the questions that each answers: all that the rest of the generator asks of it.

Kinds are modules, loaded when a spec has one: a changed spec must not wait for what it does not use.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from codegen.language.attention import Gqa, Mla
from codegen.language.keys import Section
from codegen.language.mixers import GatedDeltaNet, Lightning, Mamba1, Mamba2, RgLru, ShortConv
from codegen.language.mlp import Gated, Moe, Plain
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import part_of
from codegen.plan.types import Assign, Code, MixerPlan

KINDS: dict[type[Section], str] = {
    Gqa: "gqa",
    Mla: "mla",
    ShortConv: "short_conv",
    Mamba2: "mamba2",
    Mamba1: "mamba1",
    GatedDeltaNet: "gated_delta_net",
    Lightning: "lightning",
    RgLru: "rg_lru",
    Gated: "dense",
    Plain: "dense",
    Moe: "moe",
}

KEEPS_KEYS = {"gqa", "mla"}  # the kinds that keep keys and values of all tokens; other token mixers keep a state


class Mixer(Protocol):
    """What a kind answers. `part` is the name under which a layer calls the mixer; a context holds only combinations
    in which this kind stands there."""

    def signature(self, spec: Spec, part: str) -> tuple[object, ...]:
        """What makes two layers need two classes."""
        ...

    def plan(self, context: Context, class_name: str, part: str) -> MixerPlan:
        """What a layer has there, for combinations that share a signature."""
        ...

    def call(self, path: Code, arguments: Code) -> Code:
        """How a layer calls the module at that path."""
        ...

    def turning(self, context: Context, spec: Spec, part: str) -> tuple[Code, Code | None] | None:
        """The width of a head, and of what of it turns; None for a kind that knows no rotary positions."""
        ...

    def alibi(self, context: Context, spec: Spec, part: str) -> Code | None:
        """The construction of the position biases of its scores."""
        ...

    def renames(self, spec: Spec, part: str) -> list[tuple[str, str]]:
        """Paths of its tensors within the layer, on disk and in memory."""
        ...

    def rules(self, context: Context, part: str) -> list[Code]:
        """Constructions of the rules of weights that lie otherwise on disk, for combinations that share a signature."""
        ...

    def sizes(self, section: Section) -> TinySizes:
        """Its sizes on tiny configs."""
        ...

    def misfits(self, numbers: Numbers, spec: Spec, part: str) -> Misfits:
        """Its sizes that do not fit together on a config."""
        ...

    def tensors(self, tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
        """Names of its tensors in a checkpoint, behind `before`."""
        ...

    def flags(self, context: Context, part: str) -> Iterator[Assign]:
        """What the model's classes have to say of it, such as attention functions that cannot compute it."""
        ...


def mixer(section: Section) -> Mixer:
    """The kind of a section."""
    return _module(KINDS[type(section)])


def kind(spec: Spec, part: str) -> str:
    """The name of the kind that stands under a part."""
    section = part_of(spec, part)
    assert section is not None
    return KINDS[type(section)]


def is_mixer(spec: Spec, part: str) -> bool:
    """Whether a part is a mixer, and no norm or linear map."""
    return type(part_of(spec, part)) in KINDS


@cache
def _module(name: str) -> Mixer:
    return cast(Mixer, import_module(f"codegen.plan.mixers.{name}"))


def sections(spec: Spec) -> Iterator[tuple[str, Section]]:
    """The mixers of a flat spec, called or not, with their names."""
    for part in ("attention", "mlp", *spec.parts):
        section = part_of(spec, part)
        if type(section) in KINDS and section is not None:
            yield part, section
