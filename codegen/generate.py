"""One spec to everything that it generates: plan, tiny configs, render, format, verify. Writes nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codegen.artifacts import Generated
from codegen.configs import table
from codegen.errors import Problem, SpecError, attempt
from codegen.language.check import is_of_images, named_like, read_loaded, shown_path
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec, config_class
from codegen.memory import last_run
from codegen.places import HERE, Places
from codegen.plan.features import features
from codegen.plan.mixers.kinds import KEEPS_KEYS, is_mixer, kind
from codegen.plan.model import build
from codegen.plan.types import ContractPlan, ModelPlan, SpecPlan
from codegen.tiny import fits, values
from codegen.tiny.configs import configs
from codegen.tiny.mentions import with_newer
from codegen.tiny.sizes import has_experts

if TYPE_CHECKING:  # at run time only where a spec is one of images and text
    from codegen.language.vision.loaded import LoadedImageText
    from codegen.plan.vision.types import ImageTextPlan, ImageTextSpecPlan


def read_any(path: Path, root: Path) -> "LoadedSpec | LoadedImageText":
    """One spec file, of text or of images and text.

    Raises:
        SpecError: with all problems of the file.
        OSError: where the file cannot be read.
    """
    shown = shown_path(path, root)
    node = load(last_run.content(str(path)), shown)
    if not is_of_images(node):
        return named_like(path, read_loaded(node, shown))
    from codegen.language.vision.check import read_image_text

    return read_image_text(node, path, root)


def plan_any(spec: "LoadedSpec | LoadedImageText", places: Places = HERE) -> "SpecPlan | ImageTextSpecPlan":
    """The plan of either kind of spec. Raises SpecError as `plan_spec` does."""
    if isinstance(spec, LoadedSpec):
        return plan_spec(spec, places)
    from codegen.generate_image_text import plan_image_text

    return plan_image_text(spec, places)


def generate(spec: "LoadedSpec | LoadedImageText", places: Places = HERE) -> Generated:
    """Everything that a spec of either kind generates, in memory.

    Raises:
        SpecError: where the spec asks for something that has no template yet.
    """
    from codegen.render.any import rendered  # brings LibCST, which a plan alone does without

    return rendered(plan_any(spec, places))


def plan_spec(spec: LoadedSpec, places: Places = HERE) -> SpecPlan:
    """The plan of a checked spec.

    Raises:
        SpecError: where the spec asks for something that has no template yet, or that has no value on the configs of
            its tests.
    """
    known = table()
    config = with_newer(config_class(spec, known), spec)
    found: dict[Problem, None] = {}
    model = attempt(lambda: build(spec, config, places), None, found)
    tests = attempt(lambda: configs(spec, known), {}, found)
    found.update(dict.fromkeys(values.problems(spec, config, tests)))
    if not found:
        found.update(dict.fromkeys(fits.problems(spec, config, tests)))
    if found or model is None:
        raise SpecError(list(found))
    made = contract("MixtureContract" if has_experts(spec) else "ModelContract", model, spec, tests)
    hub = str(spec.docs.get("hub", ""))
    exception = str(spec.tests.get("why", ""))
    return SpecPlan(spec.path, _kind(spec), hub, exception, features(model), model, made)


def contract(
    kind: str,
    model: "ModelPlan | ImageTextPlan",
    spec: "LoadedSpec | LoadedImageText",
    tests: dict[str, dict[str, Any]],
) -> ContractPlan:
    """The test of a model: the contract of this kind, bound to it."""
    attributes: dict[str, Any] = {
        "spec": model.name,
        "architecture": model.architectures[0],
        "model_module": model.places.module(model.name, "model"),
        "config_class": f"{model.config.module}:{model.config.class_name}",
    }
    if model.places.own_registry is not None:
        attributes["registry"] = model.places.own_registry
    doc = f"{model.title} against its reference: the contract, on configs derived from {spec.path}."
    return ContractPlan(kind, f"Test{model.prefix}", doc, attributes | spec.reference, tests)


def _kind(spec: LoadedSpec) -> str:
    """`dense` or `mixture`; `, hybrid` where some layers keep keys and values and others a state, `, recurrent` where
    all keep a state."""
    tokens = {kind(flat, "attention") for flat in spec.flat.values() if is_mixer(flat, "attention")}
    memory = ", hybrid" if tokens & KEEPS_KEYS else ", recurrent"
    return ("mixture" if has_experts(spec) else "dense") + (memory if tokens - KEEPS_KEYS else "")
