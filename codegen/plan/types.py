"""The plan: everything that a renderer writes, as names and code. Renderers look nothing up and decide nothing.

Named tuples, because a changed spec must not wait: Python makes them in a fifth of a frozen dataclass's time.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Code = str  # Python source of one expression or statement, from `ast.unparse`


class Assign(NamedTuple):
    """An attribute of an object, or of a class, under a comment where the spec says why."""

    name: str
    code: Code
    why: str | None = None


class QKNormPlan(NamedTuple):
    """Norms of queries and keys: their attributes, how they are built, and where they act."""

    q_name: str
    k_name: str
    q_code: Code
    k_code: Code
    place: str  # projection | before_rope | after_rope
    rows: bool  # one row of the weight per head: heads must be the last dimension but one


class RotationPlan(NamedTuple):
    """How q and k are rotated; `some_layers` asks `self.rotary` first."""

    some_layers: bool
    rotate: Code | None
    dtype: Code | None
    sign: Code | None


class GatePlan(NamedTuple):
    """A gate on the heads' output: a projection of its own, or rows beside those of the queries."""

    in_q: bool
    name: str
    width: Code
    heads: Code
    bias: Code
    head_bias: str | None  # the parameter that is one number a head
    activation: Code | None  # None: sigmoid


class AttentionPlan(NamedTuple):
    """One attention class."""

    class_name: str
    doc: str
    head_dim: Code
    head_dim_value: Code | None  # the expression behind a local `head_dim`
    attributes: tuple[Assign, ...]
    heads: Code
    kv_heads: Code
    bias: Code | None
    biases: Code | None
    names: Code | None
    fused: Code | None
    layout: Code | None
    packed: Code | None
    sinks: Code | None  # when a layer has them: True, or a condition
    qk_norm: QKNormPlan | None
    rotation: RotationPlan | None
    clip: bool
    multiply: tuple[Code, ...]
    inner_norm: Assign | None
    out_name: str
    out_bias: Code
    v_head_dim: Code | None  # None: as wide as q and k
    gate: GatePlan | None


class LatentPlan(NamedTuple):
    """One class of multi-head latent attention; `names`, `biases`, `norms` are by role."""

    class_name: str
    doc: str
    heads: Code
    nope: Code
    rope: Code
    v: Code
    q_rank: Code
    kv_rank: Code
    attributes: tuple[Assign, ...]
    names: Mapping[str, str]
    biases: Mapping[str, Code]
    norms: Mapping[str, Code]
    rotation: RotationPlan | None
    multiply: tuple[Code, ...]
    gate: GatePlan | None


class MoePlan(NamedTuple):
    """The function in `layers.py` that makes a layer's MoEConfig."""

    function: str
    arguments: Code
    fields: tuple[tuple[str, Code], ...]
    why: str | None = None


class MlpPlan(NamedTuple):
    """One MLP: a construction from the library, or a class of its own; or experts."""

    construction: Code  # how the layer builds it
    moe: MoePlan | None = None
    class_name: str | None = None  # None: the library's class does
    kind: str = "gated"
    doc: str = ""
    width: Code = ""
    width_value: Code | None = None  # the expression behind a local `width`
    activation: Code = ""
    bias: Code | None = None
    biases: Code | None = None
    names: Code | None = None
    fused: Code | None = None
    groups: Code | None = None
    order: Code | None = None
    packed: Code | None = None
    attributes: tuple[Assign, ...] = ()
    multiply: tuple[Code, ...] = ()
    hidden: Code = ""  # what the down projection reads
    down: Code = ""
    inner_norm: str | None = None
    beside_experts: bool = False  # other layers have experts in its place, which take the padding mask as well
    up_name: str = ""
    down_name: str = ""
    activation_name: str = ""
    up_bias: Code = "False"
    down_bias: Code = "False"


class LayerPlan(NamedTuple):
    """One decoder layer class; `base` names the class whose parts it shares."""

    class_name: str
    doc: str
    parts: tuple[Assign, ...]
    block: tuple[Code, ...]  # statements before the last equation
    returned: Code  # the right-hand side of the last one
    base: str | None = None
    beside_experts: bool = False  # the model has mixtures, so that its layers are told which tokens are padding


class BodyPlan(NamedTuple):
    """The model without its head."""

    flags: tuple[Assign, ...]
    inputs: tuple[Assign, ...]
    outputs: tuple[Assign, ...]
    layers_name: str
    layer_class: Code
    layer_class_is_local: bool
    embed: tuple[Code, ...]
    embedded: Code | None  # what `embed` returns; None: the model has no `embed`
    finish: Code | None
    layers_why: str | None = None


class HeadPlan(NamedTuple):
    """The language model head."""

    flags: tuple[Assign, ...]
    model_name: str
    head_name: str
    parts: tuple[Assign, ...]  # beside the base model, called before the head
    before: Code | None
    head: Code
    logits: Code | None
    why: str | None = None


class ConfigPlan(NamedTuple):
    """The config class: imported, or generated from declared fields."""

    module: str
    class_name: str
    model_type: str
    fields: tuple[tuple[str, Code], ...] | None = None
    attribute_map: Code | None = None  # names that stand for other fields
    owned: bool = True  # whether its model type means this model, and not one of transformers with the same config


class ModelPlan(NamedTuple):
    """Everything about one model."""

    name: str
    prefix: str
    architectures: tuple[str, ...]
    title: str
    summary: str
    config: ConfigPlan
    attentions: tuple[AttentionPlan, ...]
    latents: tuple[LatentPlan, ...]
    mlps: tuple[MlpPlan, ...]
    moes: tuple[MoePlan, ...]
    layers: tuple[LayerPlan, ...]
    body: BodyPlan
    head: HeadPlan
    rules: tuple[Code, ...]
    default_rules: bool
    overrides: tuple[tuple[str, str], ...] = ()  # (module, class) that stand in for parts
    rules_why: str | None = None


class ContractPlan(NamedTuple):
    """The test file: the contract that the model has to pass, and what binds it to that.

    Attributes:
        attributes: names and values of the test class.
        configs: keyword arguments of tiny configs by name, `base` first.
    """

    contract: str
    class_name: str
    doc: str
    attributes: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]


class SpecPlan(NamedTuple):
    """Everything that one spec generates; `hub` is an example of the model there, or empty; `exception`: why its
    proof is not everybody's, or empty."""

    spec: str
    hub: str
    exception: str
    features: tuple[str, ...]
    model: ModelPlan
    contract: ContractPlan
