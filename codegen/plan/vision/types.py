"""The plan of a model of images and text: names and code, ready to be written."""

from typing import NamedTuple

from codegen.places import HERE, Places
from codegen.plan.types import Assign, Code, ConfigPlan, ContractPlan, ModelPlan, Picture


class ProjectorPlan(NamedTuple):
    """Rows in the tower's width to rows in the text's."""

    parts: tuple[Assign, ...]
    starts: tuple[Code, ...]  # statements that give bare parameters their first values
    equations: tuple[Code, ...]  # statements before the last equation
    returned: Code
    regroups: bool  # whether it asks how many patches high and wide images are
    vectors: tuple[Assign, ...]  # beside it, in the model
    packs: tuple[Code, ...]  # what tiles are put together with behind it: the newline's attribute, and how many


class ModulePlan(NamedTuple):
    """A projector of transformers: where its class stands, what it is built with, and what it is given beside x."""

    module: str
    name: str
    config: Code
    inputs: tuple[Code, ...]


class TextPlan(NamedTuple):
    """The generated text model that the rest stands around."""

    name: str  # of its package
    package: str  # the same, dotted
    spec: str  # that it comes from
    model_class: str
    adapter_class: str
    has_experts: bool
    embedding: str  # the attribute that embeds tokens
    types: tuple[str, ...]  # model types of the config of texts that it runs


class PartsPlan(NamedTuple):
    """The config classes of text and tower, where that of the whole is generated."""

    text: tuple[str, str]  # module and class
    tower: str
    tower_type: str
    tower_fields: tuple[tuple[str, Code], ...]


class DiskPlan(NamedTuple):
    """How the tensors of the parts lie on disk."""

    names: tuple[tuple[str, str], ...]  # where parts begin on disk and in memory, where it is otherwise there
    tower_names: tuple[tuple[str, str], ...] = ()  # pieces of the tower's names on disk and in memory
    tower_fused: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tower_pairs: tuple[str, ...] = ()
    head_size: Code | None = None  # rows of a head of the tower, where they lie in pairs and it is no quotient of usual


class ImageTextPlan(NamedTuple):
    """Everything about one model of images and text."""

    name: str
    prefix: str
    architectures: tuple[str, ...]
    title: str
    summary: str
    config: ConfigPlan
    parts: PartsPlan | None  # None: the config class is transformers'
    text: TextPlan
    half: ModelPlan | None  # the text model's own plan, where the package holds it
    bases: tuple[str, ...]  # classes of the library below the model
    flags: tuple[Assign, ...]
    fields: tuple[str, ...]  # of a batch: pixels first
    token_fields: tuple[str, ...]
    token: Code
    tower_name: str
    tower: Code
    classes: tuple[tuple[str, str], ...]  # module and name of those of transformers that the spec names
    projector_name: str
    projector: ProjectorPlan | ModulePlan | None
    text_name: str
    rotary: Code | None  # what takes the place of the text's rotary table
    features: tuple[Code, ...]  # the body of `image_features`
    lookup: tuple[Code, ...] | None  # the body of `lookup`
    together: Code | None  # what `together` returns
    boxes: Code | None  # what `boxes` returns
    disk: DiskPlan
    before: Code | None  # what is done with x before the head
    logits: Code | None  # and with the logits behind it
    picture: Picture
    ties: Code | None  # whether the head is the token embedding's; None: as the config of the whole says
    places: Places = HERE  # where it will stand


class ImageTextSpecPlan(NamedTuple):
    """Everything that one spec generates."""

    spec: str
    kind: str
    hub: str
    exception: str
    features: tuple[str, ...]
    model: ImageTextPlan
    contract: ContractPlan
