"""Which tensors checkpoints of a spec have, by name, and the sizes that shape them: symbolically, without a model."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass, table
from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.generate import plan_any
from codegen.language.keys import Section, keys
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.values import Expression
from codegen.language.vision.loaded import LoadedImageText
from codegen.new.expected import Expected, expect
from codegen.new.values import Values
from codegen.plan.context import Context
from codegen.plan.mixers.kinds import sections
from codegen.plan.types import Assign, ModelPlan
from codegen.plan.vision.asked import Asked
from codegen.plan.vision.disk import prefixes
from codegen.plan.vision.types import ImageTextPlan, ProjectorPlan
from codegen.tiny.mentions import mentions, with_newer

Loaded = LoadedSpec | LoadedImageText
# Keys whose numbers are a side of some stored matrix, or how many of them there are.
SIDES = frozenset(
    (
        *("count", "dt_rank", "head_dim", "heads", "in", "kernel", "key_dim", "key_heads", "kv_heads", "kv_rank"),
        *("latent", "nope", "out", "q_rank", "rope", "rows", "state", "v", "v_head_dim", "value_dim", "width"),
    )
)
TIE = "tie_word_embeddings"
BARE, BIASED, WEIGHTED = ("nn.Parameter(",), ("nn.Linear(", "nn.LayerNorm("), ("Norm(",)


class Stored(Frozen):
    """What a spec means for checkpoints: tensors (`*` for the number of a layer) that every tiny config has, or only
    some; the numbers of keys that shape them, on the first one; fields of the config that are read, or declared."""

    tensors: Mapping[str, bool]  # whether every config has it
    sides: Mapping[str, tuple[Any, ...]]
    fields: frozenset[str]
    declared: Mapping[str, Any]
    rules: tuple[str, ...]


def stored(loaded: Loaded) -> Stored:
    """What checkpoints of a spec hold. Raises SpecError where it generates nothing."""
    plan = plan_any(loaded)
    configs = list(plan.contract.configs.values())
    declared = dict(loaded.config.fields or {})
    if isinstance(loaded, LoadedSpec):
        found = [_expected(loaded, config) for config in configs]
        rules = plan.model.rules if isinstance(plan.model, ModelPlan) else ()
        return Stored(_counted(map(_names, found)), _sides(loaded, configs[0]), _fields(loaded), declared, rules)
    assert isinstance(plan.model, ImageTextPlan)
    texts = [{**config["text_config"], TIE: config.get(TIE, True)} for config in configs]
    pairs = zip(configs, texts, strict=True)
    named = [set(_of_images(loaded, plan.model, config, _expected(loaded.text, text))) for config, text in pairs]
    fields = frozenset(f"text_config.{name}" for name in _fields(loaded.text)) | _read(plan.model)
    names = (f"{disk} -> {memory}" for disk, memory in plan.model.disk.names)
    return Stored(_counted(named), _sides(loaded.text, texts[0]), fields, declared, tuple(names))


def _counted(each: Iterable[Iterable[str]]) -> Mapping[str, bool]:
    sets = [set(names) for names in each]
    return {name: all(name in names for names in sets) for name in sorted(set[str]().union(*sets))}


def _expected(loaded: LoadedSpec, held: Mapping[str, Any]) -> Expected:
    return expect(loaded, _values(with_newer(config_class(loaded, table()), loaded), held))


def _values(config: ConfigClass, held: Mapping[str, Any]) -> Values:
    """A tiny config as if it were published."""
    known = {**config.fields, **held}
    known |= {alias: known.get(name) for alias, name in config.attribute_map.items()}
    return Values(config, True, known, {}, dict(config.attribute_map))


def _names(expected: Expected, model: str | None = None, above: str = "") -> Iterator[str]:
    """Whole names; what lies below a name that is no tensor's ends with `*`."""
    model = expected.model if model is None else model
    for name in expected.inside:
        yield _whole(model, expected.layers, "*", name)
    for name in expected.around:
        yield _whole(model, name)
    for name in expected.top - expected.tied:
        yield _whole(above, name)


def _whole(*parts: str) -> str:
    name = ".".join(part for part in parts if part)
    return f"{name}*" if name.endswith(".") else name


def _of_images(
    loaded: LoadedImageText, plan: ImageTextPlan, config: Mapping[str, Any], text: Expected
) -> Iterator[str]:
    """The text's under its prefix, the projector's parts, and the tower, which is transformers' own."""
    disk = {part: path for part, (path, _) in prefixes(Asked(loaded)).items()}
    head = {name: f"{disk['head']}.{name.partition('.')[2]}" for name in text.top}
    for name in _names(text, disk["text"]):
        yield head.get(name, name)
    yield f"{disk['vision']}.*"
    if isinstance(plan.projector, ProjectorPlan):
        yield from _of_projector(loaded, plan.projector, config, disk["projector"])
    elif plan.projector is not None:
        yield f"{disk['projector']}.*"


def _of_projector(loaded: LoadedImageText, plan: ProjectorPlan, config: Mapping[str, Any], path: str) -> Iterator[str]:
    checkpoint = loaded.spec.checkpoint
    names, memory = checkpoint.names or {}, checkpoint.memory or {}
    stored = {str({**names, **memory}.get(name, name)): str(names.get(name, name)) for name in (*names, *memory)}
    for part in plan.parts:
        for tensor in _of_part(part, {**loaded.config_class.fields, **config}):
            yield _whole(path, stored.get(part.name, part.name), tensor)
    for vector in plan.vectors:
        yield _whole(path.rpartition(".")[0], str(names.get(vector.name, vector.name)))


def _of_part(part: Assign, config: Mapping[str, Any]) -> Iterator[str]:
    """Its tensors, below its name."""
    if part.code.startswith(BARE):
        yield ""
    elif any(kind in part.code for kind in (*BIASED, *WEIGHTED)):
        yield "weight"
        flag = re.search(r"bias=(?:config\.)?(\w+)", part.code)
        if part.code.startswith(BIASED) and (flag is None or config.get(flag[1], flag[1] == "True")):
            yield "bias"


def _fields(loaded: LoadedSpec) -> frozenset[str]:
    config = with_newer(config_class(loaded, table()), loaded)
    return frozenset(".".join(filter(None, (one.field, one.inner))) for one in mentions(loaded, config))


def _read(plan: ImageTextPlan) -> frozenset[str]:
    """Fields that the code around the text reads."""
    return frozenset(re.findall(r"\bconfig\.(\w+(?:\.[a-z_]\w*)*)", repr(plan._replace(half=None))))


def _sides(loaded: LoadedSpec, held: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Numbers of the keys that shape tensors, by path, in all kinds of layers."""
    config = with_newer(config_class(loaded, table()), loaded)
    values, context = _values(config, held), Context(loaded, config, loaded.flat)
    found: dict[str, dict[Any, None]] = {}
    for spec in loaded.flat.values():
        for part, section in (*sections(spec), ("embedding", spec.embedding), ("head", spec.head)):
            for path, expression in _of_section(context, part, section):
                found.setdefault(path, {})[_number(expression, values)] = None
    return {path: tuple(numbers) for path, numbers in found.items()}


def _number(expression: Expression, values: Values) -> Any:
    """What it comes to; its own text where that is not known without a model."""
    found = values.head_dim if expression.text == "head_size(config)" else values.evaluated(expression)
    return expression.text if found is None else found


def _of_section(context: Context, path: str, section: Section) -> Iterator[tuple[str, Expression]]:
    for name, key in keys(type(section)).items():
        value = getattr(section, name if name != "in" else "in_")
        if key.type == "expression" and name in SIDES:
            try:
                yield f"{path}.{name}", context.value(section, name)
            except SpecError:  # nothing is written and the class has no default: there is no such number
                continue
        elif isinstance(value, Section) and name in ("experts", "shared"):
            yield from _of_section(context, f"{path}.{name}", value)
