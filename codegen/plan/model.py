"""Builds the plan of a model: asks every question once, in the order in which the generated file is read."""

from codegen.configs import ConfigClass
from codegen.language.loaded import LoadedSpec
from codegen.language.reserved import class_prefix
from codegen.places import HERE, Places
from codegen.plan.body import plan_body
from codegen.plan.context import Context
from codegen.plan.head import plan_head
from codegen.plan.layers import Layers, plan_layers
from codegen.plan.picture import plan_picture
from codegen.plan.positions import rope_kind
from codegen.plan.rules import DEFAULT, plan_rules
from codegen.plan.scope import normal
from codegen.plan.types import ConfigPlan, ModelPlan


def build(loaded: LoadedSpec, config: ConfigClass, places: Places = HERE) -> ModelPlan:
    """The plan of a checked spec, of a model that will stand at `places`.

    Raises:
        SpecError: where the spec asks for something that has no template yet.
    """
    context = Context(loaded, config, loaded.flat)
    _wait(context)
    prefix = class_prefix(loaded.architectures[0])
    kind = rope_kind(context)
    layers = context.attempt(lambda: plan_layers(context, prefix, kind), Layers((), (), "None", kind, {}))
    rules = tuple(normal(rule) for rule in context.attempt(lambda: plan_rules(context), ()))
    classes = tuple(plan.class_name for plan in layers.layers)
    body = context.attempt(lambda: plan_body(context, prefix, layers, classes), None)
    head = context.attempt(lambda: plan_head(context), None)
    context.finish()
    assert body is not None and head is not None
    return ModelPlan(
        name=loaded.name,
        prefix=prefix,
        architectures=loaded.architectures,
        title=prefix,
        summary=loaded.summary,
        config=_config(loaded, config, places),
        mixers=layers.mixers,
        layers=layers.layers,
        body=body,
        head=head,
        rules=rules,
        default_rules=_is_default(rules),
        picture=plan_picture(context, layers.owners),
        overrides=tuple(
            (module, name) for module, _, name in (path.partition(":") for path in loaded.overrides.values())
        ),
        rules_why=context.base.checkpoint.why,
        places=places,
    )


def _wait(context: Context) -> None:
    """Raise SpecError for all that has no template yet, and for which no class stands in."""
    for what in context.loaded.unready:
        key, _, word = what.partition(": ")
        if key.partition(".")[0] not in context.loaded.overrides:
            message = f"no template yet for {word}" if word else "no template yet"
            context.problems.update(dict.fromkeys(context.unready(message, key).problems))
    context.finish()


def _is_default(rules: tuple[str, ...]) -> bool:
    """Whether the library's table of a plain decoder does."""
    spelled = tuple(rule.replace("config.head_dim", "head_size(config)") for rule in rules)
    return spelled == tuple(normal(rule) for rule in DEFAULT)


def _config(loaded: LoadedSpec, config: ConfigClass, places: Places) -> ConfigPlan:
    declared = loaded.config
    if declared.fields is None:
        owned = not config.architectures or loaded.architectures[0] == config.architectures[0]
        return ConfigPlan("transformers", declared.class_name, declared.model_type, owned=owned)
    module = places.module(loaded.name, "config")
    fields = tuple((name, repr(value)) for name, value in declared.fields.items())
    names = repr(dict(declared.attribute_map)) if declared.attribute_map else None
    return ConfigPlan(module, declared.class_name, declared.model_type, fields, names)
