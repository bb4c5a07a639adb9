"""Every comparison can fail, and names what is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from nemo_automodel.parity import components, end_to_end, state_dict
from nemo_automodel.parity.compare import failures
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.reference import Reference


def break_scale(model):
    model.model.layers[1].self_attn.scale *= 1.01


def break_activation(model):
    model.model.layers[2].mlp.act_fn = nn.GELU()


def break_eps(model):
    model.model.layers[0].post_attention_layernorm.eps *= 2


def break_table(model):
    model.model.rotary_emb.scaling.theta *= 1.1


def break_weight(model):
    model.model.layers[3].self_attn.k_proj.weight[0, 0] += 0.1


def break_wiring(model):
    layer = model.model.layers[1]

    def forward(x, **context):
        x = x + layer.self_attn(layer.input_layernorm(x), **context)[0]
        return x - layer.mlp(layer.post_attention_layernorm(x))

    layer.forward = forward


def break_call(model):
    layer = model.model.layers[1]
    layer.forward = lambda x, **context: x + layer.mlp(layer.post_attention_layernorm(x))


def break_final_norm(model):
    model.model.norm = nn.Identity()


def break_gradient(model):
    model.model.layers[2].input_layernorm.weight.requires_grad_(False)


BREAKS = {
    break_scale: "model.layers.1.self_attn: output",
    break_activation: "model.layers.2.mlp.act_fn: output",
    break_eps: "model.layers.0.post_attention_layernorm: output",
    break_table: "model.rotary_emb: output",
    break_weight: "model.layers.3.self_attn.k_proj: output",
    break_wiring: "model.layers.1: output",
    break_call: "model.layers.1.input_layernorm: output",
    break_final_norm: "model.norm: output",
    break_gradient: "model.layers.2.input_layernorm: gradient",
}


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_the_broken_component_is_named(reference, ours, found, broken):
    with torch.no_grad():
        broken(ours)
    checks = components.compare(reference, ours, found["plain"])
    order = components.order_of(reference.model, found["plain"])
    assert components.first_difference(checks, order) == BREAKS[broken]


def test_nothing_is_named_where_nothing_is_broken(reference, ours, found):
    checks = components.compare(reference, ours, found["plain"])
    assert not failures(checks)
    assert components.first_difference(checks, components.order_of(reference.model, found["plain"])) is None
    kinds = {check.what.partition(": ")[2] for check in checks}
    assert kinds == {"output", "input gradient", "gradient"}


def test_packed_components_are_compared_under_disk_names(reference, found):
    packed = build_ours(reference.subject.model_class, reference.config, reference.disk, backend="packed")
    names = {check.what for check in components.compare(reference, packed, found["plain"])}
    assert "model.layers.0.self_attn.q_proj.weight: gradient" in names


def test_end_to_end_sees_what_padding_hides(reference, ours, found):
    """A mask that lets queries see padding leaves unpadded batches as they are."""
    ours.model.masks = lambda x, mask, *rest, old=ours.model.masks: old(x, None, *rest)
    checks = end_to_end.compare(reference, ours, found)
    assert {check.level for check in failures(checks)} == {"end to end, left"}


def test_generation_and_cache_can_fail(reference, ours, found):
    batch = {"left": found["left"]}
    assert not failures(end_to_end.compare_generation(reference, ours, batch))
    assert not failures(end_to_end.compare_cache(ours, batch))
    ours.model._positions = lambda x, cache: torch.arange(x.shape[1])[None]  # a cache that is not counted
    with torch.no_grad():
        ours.lm_head.weight.copy_(ours.lm_head.weight.roll(1, 0))
    assert failures(end_to_end.compare_generation(reference, ours, batch))
    assert failures(end_to_end.compare_cache(ours, {"plain": found["plain"]}))


def test_state_dict_level_sees_names_and_values(reference, ours):
    assert not failures(state_dict.compare(ours, reference.disk))
    name = next(iter(reference.disk))
    others = {**reference.disk, name: reference.disk[name] + 1}
    failed = {check.what for check in failures(state_dict.compare(ours, others))}
    assert failed == {"from_hf gives the tensors in memory", "save_pretrained writes the names on disk"}
    renamed = {f"x.{key}": value for key, value in reference.disk.items()}
    assert len(failures(state_dict.compare(ours, renamed))) >= 2


def test_weights_must_fit_exactly(reference):
    less = dict(list(reference.disk.items())[1:])
    for disk in (less, reference.disk | {"extra.weight": torch.ones(1)}):
        with pytest.raises(KeyError, match="missing|unexpected"):
            build_ours(reference.subject.model_class, reference.config, disk)


def test_bf16_ratio_sees_a_coarser_rounding(reference, found):
    half = build_ours(reference.subject.model_class, reference.config, reference.disk, dtype=torch.bfloat16)
    batch = {"plain": found["plain"]}
    assert not failures(end_to_end.compare_in_bf16(reference, half, batch))
    with torch.no_grad():
        for weight in half.parameters():
            weight.copy_(weight * (1 + 0.01 * torch.randn_like(weight)))
    assert failures(end_to_end.compare_in_bf16(reference, half, batch))


def test_the_reference_answers_once_for_both_layouts_and_anew_for_other_numbers(reference, found, project):
    asked = []

    def measured():
        asked.append(1)
        return len(asked)

    plain, other = found["plain"], replace(found["plain"], labels=found["plain"].labels.clone().fill_(5))
    same = replace(plain, ids=plain.ids.clone())
    answers = [reference.once("count", batch, measured) for batch in (plain, same, other, found["left"], plain)]
    assert answers == [1, 1, 2, 3, 1]
    another = Reference(project.subject(), project.configs["base"], seed=1)
    assert (another.once("count", plain, measured), reference.once("another", plain, measured)) == (4, 5)
