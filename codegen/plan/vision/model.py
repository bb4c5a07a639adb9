"""Builds the plan of a model of images and text."""

import ast

from codegen.errors import Problem, SpecError
from codegen.language.reserved import class_prefix
from codegen.language.values import Expression, expression
from codegen.language.vision.declared import TOWER
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.sections import Arange, Mrope, ProjectorModule
from codegen.language.vision.tensors import FIELDS, TILED, fields_read
from codegen.places import HERE, Places
from codegen.plan.types import Assign, Code, ConfigPlan, ModelPlan
from codegen.plan.vision.asked import IN_INIT, IN_METHOD, Asked
from codegen.plan.vision.disk import dropped, plan_disk, prefixes
from codegen.plan.vision.output import plan_output
from codegen.plan.vision.picture import plan_image_picture
from codegen.plan.vision.projector import plan_equations, plan_module
from codegen.plan.vision.text import config_module, plan_half
from codegen.plan.vision.tower import is_tiled, plan_features, tensor, tower_class
from codegen.plan.vision.types import ImageTextPlan, ModulePlan, PartsPlan, ProjectorPlan, TextPlan

TIE = "config.tie_word_embeddings"


def build_image_text(loaded: LoadedImageText, places: Places = HERE) -> ImageTextPlan:
    """The plan of a checked spec, of a model that will stand at `places`.

    Raises:
        SpecError: where the spec asks for something that has no template yet.
    """
    asked = Asked(loaded)
    spec, paths = loaded.spec, prefixes(asked)
    text = plan_half(loaded, places)
    _refuse(asked)
    projector = plan_module(asked) if isinstance(spec.projector, ProjectorModule) else plan_equations(asked)
    before, logits = plan_output(asked)
    tower, named = paths["vision"][1].removeprefix("model."), paths["projector"][1].removeprefix("model.")
    prefix = class_prefix(loaded.architectures[0])
    return ImageTextPlan(
        name=loaded.name,
        prefix=prefix,
        architectures=loaded.architectures,
        title=prefix,
        summary=loaded.summary,
        config=_config(loaded, places),
        parts=_parts(loaded, places) if loaded.config.fields is not None else None,
        text=_text(text, loaded, places),
        half=text if loaded.is_overlaid else None,
        bases=_bases(asked),
        flags=_flags(asked, text),
        fields=_fields(asked),
        token_fields=("token_type_ids",) if spec.mask == "prefix" else (),
        token=IN_INIT.code(asked.value(spec.merge, "token", "merge")),
        tower_name=tower,
        tower=_tower(asked),
        classes=_classes(asked, projector),
        projector_name=named,
        projector=projector,
        text_name=paths["text"][1].removeprefix("model."),
        rotary=_rotary(asked, paths["text"][1].removeprefix("model.")),
        features=plan_features(asked, tower, projector, named),
        lookup=_lookup(asked),
        together={"image_blocks": "image_blocks(is_image) if images else None", "prefix": "prefix(token_type_ids)"}.get(
            spec.mask
        ),
        boxes=_boxes(asked),
        disk=plan_disk(asked, paths),
        before=before,
        logits=logits,
        picture=plan_image_picture(asked, text.picture),
        ties=_ties(asked),
        places=places,
    )


def _config(loaded: LoadedImageText, places: Places) -> ConfigPlan:
    declared = loaded.config
    if declared.fields is None:
        return ConfigPlan("transformers", declared.class_name, declared.model_type, owned=_owns(loaded))
    fields = tuple((name, repr(value)) for name, value in declared.fields.items() if name != TOWER)
    names = repr(dict(declared.attribute_map)) if declared.attribute_map else None
    module = places.module(loaded.name, "config")
    return ConfigPlan(module, declared.class_name, declared.model_type, fields, names)


def _parts(loaded: LoadedImageText, places: Places) -> PartsPlan:
    """The classes of text and tower of a config class of ours."""
    model_type, tower, _ = loaded.config_class.parts[TOWER]
    fields = loaded.config_class.value(TOWER)
    text = loaded.text
    module = "transformers"
    if text.config.fields is not None:
        module = config_module(loaded, places)
    held = tuple((name, repr(value)) for name, value in fields.items())
    return PartsPlan((module, text.config.class_name), tower, model_type, held)


def _owns(loaded: LoadedImageText) -> bool:
    """Whether the model is the one that its architecture is named after, and not the same over another text."""
    return loaded.name == loaded.config.model_type or loaded.root.find(("config",)) != loaded.root.at


def _ties(asked: Asked) -> Code | None:
    """Whether the head is the token embedding's, where it is not the config of the whole that says it."""
    tie = asked.value(asked.loaded.spec.head, "tie", "head")
    return None if tie.text == TIE else IN_METHOD.code(tie)


def _refuse(asked: Asked) -> None:
    """What the language has and no template yet, all at once."""
    spec = asked.loaded.spec
    problems: dict[Problem, None] = {}
    checkpoint = spec.checkpoint
    for name in ("fused", "unsqueezed", "experts", "experts_mark", "float32"):
        if getattr(checkpoint, name) is not None:
            path = f"checkpoint.{name}"
            problems |= dict.fromkeys(asked.unready("no template yet", path, "remove it").problems)
    start = asked.value(spec.positions, "start", "positions") if isinstance(spec.positions, Arange) else None
    if start is not None and not isinstance(start.constant, int):
        message = f"no template yet for {start.text}"
        problems |= dict.fromkeys(asked.unready(message, "positions.start", "write a number").problems)
    if problems:
        raise SpecError(list(problems))


def _types(loaded: LoadedImageText) -> tuple[str, ...]:
    """Model types under which a config holds such a text: that of the text's spec, where it may be any."""
    default, _, is_open = loaded.config_class.parts["text_config"]
    return (loaded.text.config.model_type if is_open else default,)


def _text(text: ModelPlan, loaded: LoadedImageText, places: Places) -> TextPlan:
    module = places.lent if loaded.borrows and not loaded.is_overlaid else places.module
    flags = {flag.name: flag.code for flag in text.body.flags}
    return TextPlan(
        text.name,
        module(text.name, "model").removesuffix(".model"),
        loaded.text_spec,
        f"{text.prefix}Model",
        f"{text.prefix}StateDictAdapter",
        any(mixer.has_experts for mixer in text.mixers),
        str(ast.literal_eval(flags.get("_input_embed_layer", "'embed_tokens'"))),
        _types(loaded),
    )


def _bases(asked: Asked) -> tuple[str, ...]:
    spec = asked.loaded.spec
    found = ["ImageTextModelWithDeepstack"] if spec.merge.deepstack else []
    found += ["ImageTextModelWithAxes"] if isinstance(spec.positions, Mrope) else []
    return tuple(found or ["ImageTextModel"])


def _flags(asked: Asked, text: ModelPlan) -> tuple[Assign, ...]:
    """Attributes of the model's class."""
    spec, kept = asked.loaded.spec, ("_supports_flash_attn", "_supports_sdpa", "_supports_flex_attn")
    found = [flag for flag in text.body.flags if flag.name in kept]
    if spec.mask != "causal" and "_supports_flash_attn" not in {flag.name for flag in found}:
        found.append(Assign("_supports_flash_attn", "False"))
    fields = _fields(asked)
    if fields != ("pixel_values",):
        found.append(Assign("image_fields", repr(fields)))
    if spec.mask == "prefix":
        found.append(Assign("token_fields", "('token_type_ids',)"))
    if isinstance(spec.positions, Arange) and (start := asked.value(spec.positions, "start", "positions")).text != "0":
        found.append(Assign("first_position", repr(start.constant)))
    if drops := spec.checkpoint.drop:
        reasons = "; ".join(f"{drop.match}: {drop.why}" for drop in drops)
        found.append(Assign("_keys_to_ignore_on_load_unexpected", repr(dropped(asked, drops)), reasons))
    found += [flag for flag in text.body.flags if flag.name == "_no_split_modules"]
    return tuple(found)


def _fields(asked: Asked) -> tuple[str, ...]:
    """What of a batch the images need: pixels first, then in the order of the language."""
    spec = asked.loaded.spec
    read = [spec.vision.pixels or expression("pixel_values"), *(spec.vision.inputs or {}).values()]
    read += (spec.projector.inputs or {}).values() if isinstance(spec.projector, ProjectorModule) else ()
    read += [spec.vision.grid] if spec.vision.grid is not None else []
    read += [_grid(spec.positions)] if isinstance(spec.positions, Mrope) else []
    found = {name for value in read for name in fields_read(value)} | set(TILED if is_tiled(asked) else ())
    pixels = next(iter(fields_read(read[0])))
    return (pixels, *(name for name in FIELDS if name in found - {pixels}))


def _grid(positions: Mrope) -> Expression:
    return positions.grid or expression("image_grid_thw")


def _tower(asked: Asked) -> Code:
    named, own = tower_class(asked), asked.loaded.spec.vision.config or {}
    if own and named is None:
        message = "has no class whose config it fills"
        raise asked.unready(message, "vision.config", "write tower: family.Class beside it")
    given = ["config.vision_config", *([] if named is None else [f"of={named[1]}"])]
    given += [f"{name}={IN_INIT.code(value)}" for name, value in own.items()]
    return f"build_tower({', '.join(given)})"


def _classes(asked: Asked, projector: ProjectorPlan | ModulePlan | None) -> tuple[tuple[str, str], ...]:
    """Of transformers, by module and name."""
    tower = tower_class(asked)
    own = [(projector.module, projector.name)] if isinstance(projector, ModulePlan) else []
    return (*([tower] if tower is not None else []), *own)


def _rotary(asked: Asked, text: str) -> Code | None:
    positions = asked.loaded.spec.positions
    if not isinstance(positions, Mrope):
        return None
    sections = asked.value(positions, "sections", "positions")
    given = [f"self.{text}.rotary_emb", _mapped(IN_INIT.code(sections))]
    given += [repr(positions.order)] if positions.order == "interleaved" else []
    return f"AxesRotaryTable({', '.join(given)})"


def _mapped(code: Code) -> Code:
    """Parameters of rotary tables stay a mapping at run time."""
    head, found, key = code.partition(".rope_parameters.")
    return f"{head}.rope_parameters[{key!r}]" if found else code


def _boxes(asked: Asked) -> Code | None:
    positions = asked.loaded.spec.positions
    if not isinstance(positions, Mrope):
        return None
    merge = asked.value(positions, "merge", "positions")
    return f"merged_boxes({tensor(_grid(positions).tree)}, {IN_METHOD.code(merge)})"


def _lookup(asked: Asked) -> tuple[Code, ...] | None:
    """The body of `lookup`: which id's embedding stands at a placeholder."""
    value = asked.value(asked.loaded.spec.merge, "lookup", "merge")
    if value.text == "token":
        return None
    made = IN_METHOD.code(value, token="self.image_token")
    return (f"return input_ids.masked_fill(self.is_image(input_ids), {made})",)
