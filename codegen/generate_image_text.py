"""One spec of images and text to its whole plan: the model, and the contract that it has to pass."""

from codegen.errors import Problem, SpecError, attempt
from codegen.generate import contract
from codegen.language.vision.loaded import LoadedImageText
from codegen.places import HERE, Places
from codegen.plan.vision.model import build_image_text
from codegen.plan.vision.types import ImageTextPlan, ImageTextSpecPlan, ProjectorPlan
from codegen.tiny.image_text import configs, half_problems


def plan_image_text(loaded: LoadedImageText, places: Places = HERE) -> ImageTextSpecPlan:
    """The plan of a checked spec.

    Raises:
        SpecError: where the spec asks for something that has no template yet.
    """
    found: dict[Problem, None] = {}
    model = attempt(lambda: build_image_text(loaded, places), None, found)
    found.update(dict.fromkeys(attempt(lambda: list(half_problems(loaded)), [], found)))
    if found or model is None:
        raise SpecError(list(found))
    hub, exception = str(loaded.docs.get("hub", "")), str(loaded.tests.get("why", ""))
    kind = f"images, {'mixture' if model.text.has_experts else 'dense'}"
    kind_of_test = "ImageTextMixtureContract" if model.text.has_experts else "ImageTextContract"
    made = contract(kind_of_test, model, loaded, configs(loaded))
    return ImageTextSpecPlan(loaded.path, kind, hub, exception, _features(loaded, model), model, made)


def _features(loaded: LoadedImageText, model: ImageTextPlan) -> tuple[str, ...]:
    spec = loaded.spec
    positions = "positions in time, height and width" if model.rotary is not None else ""
    deep = "features after the first layers" if spec.merge.deepstack else ""
    mask = {"image_blocks": "tokens of one image see each other", "prefix": "a prefix sees itself"}.get(spec.mask, "")
    merged = "merged patches" if isinstance(model.projector, ProjectorPlan) and model.projector.regroups else ""
    laid = ", with changes" if loaded.is_overlaid else ""
    return tuple(filter(None, (f"text: {model.text.spec}{laid}", positions, deep, mask, merged)))
