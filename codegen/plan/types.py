"""The plan: everything that a renderer writes, as names and code. Renderers look nothing up and decide nothing.

Named tuples, because a changed spec must not wait: Python makes them in a fifth of a frozen dataclass's time.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from codegen.places import HERE, Places

NOTHING: Mapping[str, Any] = {}  # a plain dict: plans go from one process to another
Code = str  # Python source of one expression or statement, from `ast.unparse`


def unless_true(code: Code) -> Code | None:
    """The `bias` argument of an `nn.Linear`, which has one unless told otherwise."""
    return None if code == "True" else code


def unless_linear(code: Code) -> Code | None:
    """The `linear` argument of what has projections, which are `nn.Linear` unless told otherwise."""
    return None if code == "nn.Linear" else code


class Assign(NamedTuple):
    """An attribute of an object, or of a class, under a comment where the spec says why."""

    name: str
    code: Code
    why: str | None = None


class ClassPlan(NamedTuple):
    """A class, or a function, that a template makes: what its holes take."""

    template: str  # a module under `codegen/templates`
    definition: str  # what it is called there
    name: str
    docs: Mapping[str, str] = NOTHING
    when: Mapping[str, bool] = NOTHING
    codes: Mapping[str, Code | None] = NOTHING  # None: an argument that is left out
    attributes: tuple[Assign, ...] = ()
    statements: Mapping[str, tuple[Code, ...]] = NOTHING
    roles: Mapping[str, str] = NOTHING
    why: str | None = None
    whys: Mapping[str, str | None] = NOTHING  # comments at the lines of roles


class Step(NamedTuple):
    """One step of a picture: in words what it makes of the steps that it reads, which are told by their numbers."""

    words: tuple[str, ...]
    reads: tuple[int, ...] = ()
    kind: str = "part"  # a part, `data`, a `choice` between ways, or a `sum`, as other ends of ways are
    under: str = ""  # what the choice that it reads comes to here
    name: str = ""  # what equations call it


Drawing = tuple[Step, ...]  # the first step is what comes in, the last one what goes out


class Fork(NamedTuple):
    """Pictures of which a condition chooses one, each under what the condition comes to."""

    condition: str
    ways: "tuple[tuple[str, Fork | Drawing], ...]"


class Picture(NamedTuple):
    """What a model does, as papers draw it: ids to x, what each layer does with x, what follows, and the head."""

    input: Drawing
    depth: str  # how many layers there are
    layers: Fork | Drawing
    finish: Fork | Drawing
    head: Fork | Drawing


class MixerPlan(NamedTuple):
    """What a layer has under the name of one of its mixers."""

    construction: Code  # how the layer builds it
    made: ClassPlan | None  # the class or function that this needs; None: the library's does
    features: tuple[str, ...] = ()
    has_experts: bool = False
    parts: tuple[Assign, ...] = ()  # what the layer has in place of a module
    product: Code | None = None  # what they make of `x`; None: there is a module
    drawing: Drawing = ()  # where it is more than one step of a picture


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
    features: tuple[str, ...]
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
    mixers: tuple[MixerPlan, ...]
    layers: tuple[LayerPlan, ...]
    body: BodyPlan
    head: HeadPlan
    rules: tuple[Code, ...]
    default_rules: bool
    picture: Picture
    overrides: tuple[tuple[str, str], ...] = ()  # (module, class) that stand in for parts
    rules_why: str | None = None
    places: Places = HERE  # where it will stand


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
    """Everything that one spec generates; `kind` says in a few words what kind of model it is; `hub` is an example of
    the model there, or empty; `exception`: why its proof is not everybody's, or empty."""

    spec: str
    kind: str
    hub: str
    exception: str
    features: tuple[str, ...]
    model: ModelPlan
    contract: ContractPlan
