"""Plans the picture of a model of images and text: the text's, with a tower and a projector before it."""

from codegen.language.keys import Section
from codegen.language.spec import FUNCTIONS as OF_TEXT
from codegen.language.vision.declared import TOWER
from codegen.language.vision.equations import ACTIVATIONS, FUNCTIONS
from codegen.language.vision.sections import LayerNormPart, LinearPart, Mrope, ProjectorModule, RmsNormPart
from codegen.plan.types import Drawing, Picture, Step
from codegen.plan.vision.asked import Asked
from codegen.plan.vision.tower import output, tower_class
from codegen.plan.walk import Walk, one_step, short

MASKS = {"image_blocks": ("tokens of one image see each other",), "prefix": ("a prefix sees itself",)}
KINDS: dict[type[Section], str] = {LinearPart: "linear", LayerNormPart: "LayerNorm", RmsNormPart: "RMSNorm"}


def plan_image_picture(asked: Asked, text: Picture) -> Picture:
    """The picture; `text` is that of the text model."""
    head = Walk(lambda name: one_step(("head", name)), OF_TEXT)
    for equation in asked.loaded.spec.output:
        head.equation((equation.target,), equation.value)
    head.names["x"] = head.names.pop("logits")
    return text._replace(input=_input(asked, text.input), head=head.drawing())


def _input(asked: Asked, embedded: Drawing) -> Drawing:
    """Rows of images among those of tokens."""
    walk = Walk(lambda name: _part(asked, name), (*FUNCTIONS, *ACTIVATIONS), list(embedded))
    images = walk.add(Step(("images",), kind="data"))
    walk.names = {name: walk.add(Step((name,), kind="data")) for name in asked.loaded.spec.parameters}
    walk.names["x"] = walk.add(Step(_tower(asked), (images,)))
    projector = asked.loaded.spec.projector
    if isinstance(projector, ProjectorModule):
        walk.names["x"] = walk.add(Step(("projector", str(projector.class_)), (walk.names["x"],)))
    for equation in asked.loaded.spec.equations:
        walk.equation(equation.targets, equation.value)
    return (*walk.steps, Step(_merged(asked), (len(embedded) - 1, walk.names["x"])))


def _tower(asked: Asked) -> tuple[str, ...]:
    """Its class, or where the config chooses one, the type of its config."""
    named = tower_class(asked)
    kind = asked.loaded.config_class.parts[TOWER][0] if named is None else named[1]
    own = ("with its own projector",) if not asked.loaded.spec.projector else ()
    return ("vision tower", kind, short(output(asked).text), *own)


def _part(asked: Asked, name: str) -> Drawing:
    part = asked.loaded.spec.parts.get(name, LinearPart())
    when = part.when if isinstance(part, LinearPart | LayerNormPart | RmsNormPart) else None
    offset = ", 1 + w" if isinstance(part, RmsNormPart) and part.offset else ""
    where = () if when is None else (f"where {short(when.text)}",)
    return one_step((f"{KINDS[type(part)]}{offset}", name, *where))


def _merged(asked: Asked) -> tuple[str, ...]:
    """How rows of images stand among those of text."""
    spec = asked.loaded.spec
    axes = ("positions in time, height and width",) if isinstance(spec.positions, Mrope) else ()
    deep = ("features after the first layers",) if spec.merge.deepstack else ()
    return ("rows of images at their places in the text", *axes, *MASKS.get(spec.mask, ()), *deep)
