"""Plans the text half: that of another spec, or one of its own where the spec lays something on it."""

from pathlib import PurePosixPath

from codegen.configs import table
from codegen.errors import SpecError
from codegen.language.loaded import config_class
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.text import HALF, retold
from codegen.places import HERE, Places
from codegen.plan.model import build
from codegen.plan.types import ConfigPlan, ModelPlan


def plan_half(loaded: LoadedImageText, places: Places = HERE) -> ModelPlan:
    """The plan of the text model.

    Raises:
        SpecError: where it asks for something that has no template yet; of an overlay, at its place there.
    """
    try:
        plan = build(loaded.text, config_class(loaded.text, table()), places)
    except SpecError as error:
        raise as_said(loaded, error) from error
    if not loaded.is_overlaid or plan.config.fields is None:
        return plan
    module = config_module(loaded, places)
    return plan._replace(config=ConfigPlan(module, plan.config.class_name, plan.config.model_type, owned=False))


def config_module(loaded: LoadedImageText, places: Places) -> str:
    """Where the config class of the spec below stands, if it is a generated one."""
    return (places.lent if loaded.borrows else places.module)(loaded.text_spec, "config")


def as_said(loaded: LoadedImageText, error: SpecError) -> SpecError:
    """What is wrong with an overlay, told at its place."""
    if not loaded.is_overlaid:
        return error
    below = str(PurePosixPath(loaded.path).with_name(f"{loaded.text_spec}.yaml"))
    below = f"the library's {loaded.text_spec}.yaml" if loaded.borrows else below
    return SpecError([*retold(error.problems, below, loaded.root.find((HALF,)))])
