"""Plans the weight rules: what lies on disk otherwise than in memory."""

from codegen.language.disk import BESIDE, MIXTURE, fused_roles, within
from codegen.language.keys import Mixer
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.equations import called
from codegen.plan.layers import block_calls, mixers_of, signature, using
from codegen.plan.mixers.expert_names import path_in_memory
from codegen.plan.mixers.kinds import is_mixer, mixer
from codegen.plan.mixers.projections import part_of, section_of
from codegen.plan.names import attribute, disk_name, stored_name
from codegen.plan.output import finish_parts, is_top, top_parts
from codegen.plan.types import Code

DEFAULT = (
    'PackQKV("self_attn", config.num_attention_heads // config.num_key_value_heads, head_size(config))',
    'PackGateUp("mlp")',
)


def plan_rules(context: Context) -> tuple[Code, ...]:
    """Calls that construct the rules, in the order in which they are tried."""
    found = _renames(context)
    for part in mixers_of(context):
        for group in _groups(context, part):
            if part not in context.loaded.overrides or part == "attention":
                found += mixer(section_of(group.base, part)).rules(group, part)
    return tuple(dict.fromkeys(found))


def _groups(context: Context, part: str) -> list[Context]:
    """Combinations whose part is alike and lies at the same path."""

    def alike(spec: Spec) -> object:
        return attribute(spec, part), signature(spec, part)

    calling = using(context, part)
    return [calling.where(alike, answer) for answer in calling.answers(alike)]


def _renames(context: Context) -> list[Code]:
    """Paths on disk that are no attribute names, with what they are called in memory."""
    found: list[Code] = []
    for spec in context.flat.values():
        pairs = [*_beside(spec), *_around(spec)]
        for part in block_calls(spec):
            if is_mixer(spec, part):
                pairs += [*_itself(context, spec, part), *mixer(section_of(spec, part)).renames(spec, part)]
        found += [f"Rename({disk!r}, {memory!r})" for disk, memory in pairs if disk != memory and disk]
    return list(dict.fromkeys(found))


def _itself(context: Context, spec: Spec, part: str) -> list[tuple[str, str]]:
    """The part; where other layers have it at the same path in memory and elsewhere on disk, what it holds."""
    disk, memory = disk_name(spec, part), attribute(spec, part)
    using = [one for one in context.flat.values() if part in block_calls(one) and attribute(one, part) == memory]
    if all(disk_name(one, part) == disk for one in using):
        return [(disk, memory)]
    section = section_of(spec, part)
    assert isinstance(section, Mixer)
    inside = [disk_name(spec, role, part) for role in section.roles(fused_roles(spec))]
    own = {*section.roles()}
    inside += [name for name, fused in (spec.checkpoint.fused or {}).items() if own & {*fused.parts}]
    first = dict.fromkeys(name.partition(".")[0] for name in inside)
    return [(f"{disk}.{name}", f"{memory}.{name}") for name in first]


def _around(spec: Spec) -> list[tuple[str, str]]:
    """The model, its layers, its head, and what equations call beside mixers."""
    model, layers, head = (disk_name(spec, role) for role in ("model", "layers", "head"))
    inside = attribute(spec, "model")
    pairs = [(model, inside), (f"{inside}.{layers}", f"{inside}.{attribute(spec, 'layers')}")]
    pairs.append((head, attribute(spec, "head")))
    pairs += [(stored_name(spec, name), name) for name in block_calls(spec) if not is_mixer(spec, name)]
    for name in (*called(spec.input), *finish_parts(spec), *top_parts(spec)):
        above = "" if is_top(spec, name) else f"{inside}."
        pairs += [] if is_mixer(spec, name) else [(above + stored_name(spec, name), above + name)]
    return pairs


def _beside(spec: Spec) -> list[tuple[str, str]]:
    """What lies on disk beside its part: these come first, for they go by the names on disk alone."""
    found: list[tuple[str, str]] = []
    for part in block_calls(spec):
        section = part_of(spec, part)
        for role in section.roles(fused_roles(spec)) if isinstance(section, Mixer) else ():
            name = disk_name(spec, role, part)
            if name.startswith(BESIDE):
                own = path_in_memory(spec, role) if role in MIXTURE else attribute(spec, role, part)
                found.append((within(disk_name(spec, part), name), f"{attribute(spec, part)}.{own}"))
    return found
