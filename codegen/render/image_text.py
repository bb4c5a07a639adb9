"""Everything that a spec of images and text generates, in memory, from its plan."""

from textwrap import fill, indent

import libcst as cst

from codegen.artifacts import Generated, RegistryEntry
from codegen.cst.fill import template
from codegen.cst.format import Format
from codegen.cst.holes import Holes, docstring, expression, statement
from codegen.cst.imports import Import
from codegen.memory.formatted import cached_format
from codegen.plan.types import Assign
from codegen.plan.vision.types import ImageTextPlan, ImageTextSpecPlan, ModulePlan, PartsPlan, ProjectorPlan
from codegen.render import files as files_of_text
from codegen.render.code import assigns, flags, module
from codegen.render.docs import index_row
from codegen.render.package import declared, fields, render_init

MODELS = "nemo_automodel.components.models"  # of the library
WIDTH = 117  # of a docstring's line; black wraps none
LEGEND = (
    "Shapes: I images, P patches, D tower width, T rows of all images in their order, B batch, S positions, "
    "H text width, V vocabulary."
)
AFTER = ("attention_mask", "position_ids", "past_key_values", "inputs_embeds", "labels", "use_cache")


def render_image_text(plan: ImageTextSpecPlan) -> Generated:
    """Files, the entry in the registry and the row of the documentation's index."""
    model = plan.model
    file = f"{model.places.models}/{model.text.name.replace('.', '/')}/model.py"
    text = f"`{model.text.name}`" if model.half is None else f"its own, `{file}`, after that of `{model.text.spec}`"
    text_half = f"- Text model: {text}; checkpoints over another text run with transformers' own class"
    artifacts = files_of_text.artifacts_of(plan, model_files(model), (text_half,))
    entries = (_registry(model), *([files_of_text.registry(model.half)] if model.half is not None else []))
    reads = (f"{model.places.specs}/{model.text.spec}.yaml",)  # one that is lent is none, until it has one of its own
    return Generated(model.name, artifacts, entries, index_row(plan), plan.kind, model.config.model_type, reads)


def model_files(plan: ImageTextPlan, format_all: Format = cached_format) -> dict[str, str]:
    """The Python files of the model's package: name -> text without header."""
    config = {} if plan.parts is None else {"config.py": render_config(plan, plan.parts, format_all)}
    files = {
        "__init__.py": render_init(plan.places.module(plan.name, "model"), plan.architectures[0], plan.config),
        **config,
        "model.py": render_model(plan, format_all),
        "state_dict_adapter.py": render_adapter(plan, format_all),
    }
    half = {} if plan.half is None else files_of_text.model_files(plan.half, format_all)
    return files | {f"{plan.text.name.rpartition('.')[2]}/{name}": body for name, body in half.items()}


def render_config(plan: ImageTextPlan, parts: PartsPlan, format_all: Format) -> str:
    """The text of `config.py`."""
    source = template("image_text_config")
    names = {
        "TemplateConfig": plan.config.class_name,
        "TemplateVisionConfig": parts.tower,
        "TemplateTextConfig": parts.text[1],
    }
    docs = {"summary": f"Config of {plan.title} checkpoints; fields and defaults as published."}
    types = {"model_type": plan.config.model_type, "tower_type": parts.tower_type}
    holes = Holes(
        names=names,
        docs=docs,
        exprs={name: expression(repr(model_type)) for name, model_type in types.items()},
        stmts={"fields": fields(plan.config), "tower_fields": declared(parts.tower_fields)},
    )
    made = [source.fill(name, holes) for name in ("TemplateVisionConfig", "TemplateConfig")]
    doc = docstring(f"The config classes of {plan.title}, which transformers lacks.")
    return module(plan.places, doc, source.imports, [Import(*parts.text)], made, format_all)


def _registry(plan: ImageTextPlan) -> RegistryEntry:
    """Under its texts, and under its architecture, but under no model type: types are those of the causal entry point,
    which takes the text half."""
    path = plan.places.module(plan.name, "model")
    texts = tuple(f"{name}/{model_type}" for name in plan.architectures for model_type in plan.text.types)
    architectures = plan.architectures if plan.config.owned else ()
    config = None
    if plan.parts is not None:
        config = (plan.config.model_type, plan.config.module, plan.config.class_name)
    return RegistryEntry(architectures, path, plan.architectures[0], config, texts=texts)


def render_model(plan: ImageTextPlan, format_all: Format) -> str:
    """The text of `model.py`, without its header."""
    statements = [
        *([_projector(plan, plan.projector)] if isinstance(plan.projector, ProjectorPlan) else []),
        _body(plan),
        _head(plan),
    ]
    statements.append(statement(f"ModelClass = {plan.architectures[0]}"))
    doc = docstring(f"{fill(plan.summary, WIDTH)}\n\n{fill(LEGEND, WIDTH)}\n")
    head = "nemo_automodel.components.moe.causal_lm" if plan.text.has_experts else f"{MODELS}.common.causal_lm"
    library = [*template("image_text").imports, Import(head, _causal(plan))]
    return module(plan.places, doc, library, _own(plan), statements, format_all)


def _own(plan: ImageTextPlan) -> list[Import]:
    """Imports of what the library does not have."""
    text = f"{plan.text.package}.model"
    own = [
        Import(plan.config.module, plan.config.class_name),
        Import(text, plan.text.model_class, _text_class(plan)),
        Import(plan.places.module(plan.name, "state_dict_adapter"), f"{plan.prefix}StateDictAdapter"),
    ]
    own += [Import(*named) for named in plan.classes]
    own += [Import(text, plan.half.architectures[0])] if plan.half is not None else []
    return own


def _text_class(plan: ImageTextPlan) -> str:
    """The text model's class, under another name where this model's would have the same."""
    taken = f"{plan.prefix}Model"
    return f"{plan.prefix}TextModel" if plan.text.model_class == taken else plan.text.model_class


def _causal(plan: ImageTextPlan) -> str:
    return f"{'MoE' if plan.text.has_experts else ''}CausalLM"


def _names(plan: ImageTextPlan) -> dict[str, str]:
    return {
        "TemplateConfig": plan.config.class_name,
        "TemplateTextModel": _text_class(plan),
        "TemplateCausalLM": _causal(plan),
        "TemplateForConditionalGeneration": plan.architectures[0],
    }


def _projector(plan: ImageTextPlan, projector: ProjectorPlan) -> cst.BaseStatement:
    holes = Holes(
        prefix=plan.prefix,
        when={"grid": projector.regroups, "starts": bool(projector.starts)},
        exprs={"projected": expression(projector.returned)},
        stmts={
            "parts": assigns(projector.parts),
            "starts": [statement(line) for line in projector.starts],
            "equations": [statement(line) for line in projector.equations],
        },
    )
    return template("image_text").fill("TemplateProjector", holes)


def _body(plan: ImageTextPlan) -> cst.BaseStatement:
    vectors = plan.projector.vectors if isinstance(plan.projector, ProjectorPlan) else ()
    rotary = [Assign(f"{plan.text_name}.rotary_emb", plan.rotary)] if plan.rotary is not None else []
    holes = Holes(
        prefix=plan.prefix,
        names=_names(plan),
        when={"projector": plan.projector is not None, "vectors": bool(vectors)},
        exprs={
            "token": expression(plan.token),
            "tower": expression(plan.tower),
            "projector": expression(_built(plan)),
        },
        stmts={
            "flags": flags(plan.flags),
            "vectors": assigns(vectors),
            "starts": [
                statement(f"init.normal_(self.{one.name}, std=len(self.{one.name}) ** -0.5)") for one in vectors
            ],
            "positions": [statement(f"self.{one.name} = {one.code}") for one in rotary],
            "methods": [statement(one) for one in _methods(plan)],
        },
        roles={"tower": plan.tower_name, "projector": plan.projector_name, "text": plan.text_name},
    )
    made = template("image_text").fill("TemplateModel", holes)
    assert isinstance(made, cst.ClassDef)
    return made.with_changes(bases=[cst.Arg(cst.Name(base)) for base in plan.bases])


def _built(plan: ImageTextPlan) -> str:
    """The projector, as the model makes it."""
    projector = plan.projector
    return (
        f"{projector.name}({projector.config})"
        if isinstance(projector, ModulePlan)
        else f"{plan.prefix}Projector(config)"
    )


def _methods(plan: ImageTextPlan) -> list[str]:
    """What the model says of its images, as definitions."""
    pixels, *more = plan.fields
    given = ", ".join(["self", pixels, *(f"{name}=None" for name in more)])
    found = [_defined(f"image_features({given})", *plan.features)]
    if plan.lookup is not None:
        found.append(_defined("lookup(self, input_ids)", *plan.lookup))
    if plan.together is not None:
        tokens = "".join(f", {name}=None" for name in plan.token_fields)
        found.append(_defined(f"together(self, is_image, images{tokens})", f"return {plan.together}"))
    if plan.boxes is not None:
        read = [name for name in plan.fields if name in plan.boxes]
        found.append(_defined(f"boxes(self, {', '.join(read)}, **images)", f"return {plan.boxes}"))
    return found


def _defined(head: str, *body: str) -> str:
    return f"def {head}:\n" + indent("\n".join(body), "    ") + "\n"


def _head(plan: ImageTextPlan) -> cst.BaseStatement:
    tied = f"{{'lm_head.weight': 'model.{plan.text_name}.{plan.text.embedding}.weight'}}"
    ties = [] if plan.ties is None else [statement("@property\n" + _defined("ties(self)", f"return {plan.ties}"))]
    own = [flag for flag in plan.flags if flag.name.startswith("_supports")]
    own += [Assign("text_class", plan.half.architectures[0])] if plan.half is not None else []
    holes = Holes(
        prefix=plan.prefix,
        names=_names(plan),
        when={"before_head": plan.before is not None, "transform_logits": plan.logits is not None},
        exprs={"before": expression(plan.before or "x"), "logits": expression(plan.logits or "logits")},
        stmts={
            "head_flags": flags((*own, Assign("_tied_weights_keys", tied))),
            "forward": [*ties, statement(_forward(plan))],
        },
    )
    return template("image_text").fill("TemplateForConditionalGeneration", holes)


def _forward(plan: ImageTextPlan) -> str:
    """A signature that names every field: `generate`, the Trainer and processors go by it."""
    images = (*plan.fields, *plan.token_fields)
    taken = ["self", "input_ids=None", *(f"{name}=None" for name in (*images, *AFTER))]
    taken += ["logits_to_keep=0", "**kwargs: Unpack[TransformersKwargs]"]
    given = ["input_ids", *AFTER, "logits_to_keep", *(f"{name}={name}" for name in images), "**kwargs"]
    return _defined(f"forward({', '.join(taken)})", f"return super().forward({', '.join(given)})")


def render_adapter(plan: ImageTextPlan, format_all: Format) -> str:
    """The text of `state_dict_adapter.py`, without its header."""
    own = f"{plan.prefix}StateDictAdapter"
    other = f"{plan.prefix}TextStateDictAdapter" if plan.text.adapter_class == own else plan.text.adapter_class
    lines = [Assign("text_adapter", other)]
    places = (("text_path", plan.text_name, "language_model"), ("tower_path", plan.tower_name, "vision_tower"))
    lines += [Assign(name, repr(f"model.{path}")) for name, path, usual in places if path != usual]
    disk = plan.disk
    tables = {
        "names": dict(disk.names),
        "tower_names": dict(disk.tower_names),
        "tower_fused": dict(disk.tower_fused),
        "tower_pairs": disk.tower_pairs,
    }
    lines += [Assign(name, repr(table)) for name, table in tables.items() if table]
    size = [_defined("tower_head_size(self, config)", f"return {disk.head_size}")] if disk.head_size else []
    attributes = [*flags(tuple(lines)), *(statement(one) for one in size)]
    holes = Holes(prefix=plan.prefix, stmts={"attributes": attributes})
    source = template("image_text_adapter")
    text = Import(f"{plan.text.package}.state_dict_adapter", plan.text.adapter_class, other)
    doc = docstring(f"How {plan.title} checkpoints lie in memory.")
    made = [source.fill("TemplateStateDictAdapter", holes)]
    return module(plan.places, doc, source.imports, [text], made, format_all)
