"""Experts alone: implementations against the loop, and what can go wrong with tokens."""

import pytest
import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common import kernels, simd
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.moe import blockwise
from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.experts import (
    EXPERTS,
    FlatExperts,
    GroupedExperts,
    GroupedExpertsDeepEP,
    GroupedExpertsTE,
    TransposedExperts,
)
from nemo_automodel.components.moe.grouping import group

LACKING = {"simd": simd.why_not(torch.bfloat16), "triton": kernels.why_not(torch.empty(0))}
RUNNABLE = [name for name in EXPERTS if LACKING.get(name) is None]
FORMS = {
    "gated": {},
    "plain": {"expert_kind": "plain", "expert_activation": "relu2"},
    "biased": {"expert_bias": True},
    "clamped": {"expert_bias": True, "glu_limit": 0.5, "glu_alpha": 1.7, "glu_up_offset": 1},
    "wider": {"glu_dtype": "float32"},
    "weighted input": {"weight_at": "input"},
}


def experts(implementation="auto", dtype=torch.float32, count=8, **fields):
    torch.manual_seed(0)
    config = MoEConfig(dim=16, moe_inter_dim=48, n_routed_experts=count, n_activated_experts=2, **fields)
    made = GroupedExperts(config, BackendConfig(experts=implementation))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.to(dtype)


def results(made, x, indices, weights):
    """Output and all gradients."""
    x, weights = x.detach().requires_grad_(), weights.detach().requires_grad_()
    y = made(x, indices, weights)
    y.backward(torch.linspace(-1, 1, y.numel()).view_as(y).to(y.dtype))
    grads = {name: parameter.grad for name, parameter in made.named_parameters()}
    return {"y": y.detach(), "x": x.grad, "weights": weights.grad, **grads}


def inputs(indices, dtype=torch.float32):
    torch.manual_seed(1)
    indices = torch.as_tensor(indices)
    return torch.randn(len(indices), 16).to(dtype), indices, torch.rand(indices.shape).to(dtype)


def laid(storage, rows):
    """The weights of GroupedExperts in experts that lay them otherwise."""
    made = storage(rows.config, BackendConfig(experts="loop"))
    up, down = rows.get_parameter(rows.up_name).detach(), rows.down_proj.detach()
    if isinstance(made, FlatExperts):
        parts = [*up.chunk(len(dict(made.named_parameters())) - 1, dim=1), down.transpose(1, 2)]
        tensors = {name: part.flatten(0, 1) for (name, _), part in zip(made.named_parameters(), parts, strict=True)}
    else:
        tensors = {name: tensor.transpose(1, 2) for name, tensor in ((rows.up_name, up), ("down_proj", down))}
        tensors |= {name: bias.detach() for name, bias in rows.named_parameters() if name.endswith("_bias")}
    made.load_state_dict(tensors)
    return made


FLAT = FlatExperts.named("w1", "v1", "w2", turned=("w2",))


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("storage", [TransposedExperts, FLAT], ids=["transposed", "flat"])
def test_how_weights_lie_changes_nothing(storage, implementation):
    """Outputs and gradients, which lie as their parameters do: an optimiser reads both side by side."""
    form = FORMS["gated" if storage is FLAT else "biased"]
    rows = experts("loop", **form)
    made = laid(storage, rows)
    made.implementation = made._implementation(implementation)
    given = inputs(CHOICES["spread"])
    wanted = results(rows, *given)
    found = results(made, *given)
    for name in ("y", "x", "weights"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-4)
    for parameter in made.parameters():
        assert parameter.grad.stride() == parameter.stride()
    rows.load_state_dict({name: parameter.grad for name, parameter in rows.named_parameters()})
    for name, parameter in laid(storage, rows).named_parameters():
        torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-4, atol=1e-4)


def test_interleaved_blocks_are_gate_and_up():
    made, blocks = experts("loop"), experts("loop", expert_blocks=48)
    with torch.no_grad():
        gate_up = torch.stack(made.gate_up_proj.chunk(2, dim=1), dim=2).flatten(1, 2)
        blocks.gate_up_proj.copy_(gate_up)
        blocks.down_proj.copy_(made.down_proj)
    given = inputs(CHOICES["spread"])
    torch.testing.assert_close(blocks(*given), made(*given))


def test_how_a_tokens_experts_are_added_rounds_and_nothing_else():
    """In fp32 equal; in bf16 all at once and in fp32 round once, one after the other at every expert."""
    given, orders = inputs(CHOICES["spread"]), ("in_order", "at_once", "float32")
    first, *others = (experts("loop", expert_sum=order)(*given) for order in orders)
    assert all(torch.allclose(first, other, rtol=1e-5, atol=1e-6) for other in others)
    x, indices, weights = inputs([[0, 1, 2, 3, 4, 5]] * 40, torch.bfloat16)
    in_order, at_once, once = (experts("loop", torch.bfloat16, expert_sum=o)(x, indices, weights) for o in orders)
    parts = [experts("loop", torch.bfloat16)(x, indices[:, [i]], weights[:, [i]]) for i in range(6)]
    assert torch.equal(at_once, torch.stack(parts, dim=1).sum(dim=1))
    assert torch.equal(in_order, parts[0] + parts[1] + parts[2] + parts[3] + parts[4] + parts[5])
    assert torch.equal(once, sum(part.float() for part in parts).bfloat16())
    assert not torch.equal(in_order, at_once) and not torch.equal(in_order, once)


def test_a_bias_is_added_to_what_the_product_rounded():
    made, (x, indices, weights) = experts("loop", torch.bfloat16, expert_bias=True), inputs([[3]] * 20, torch.bfloat16)
    h = made.activate(x @ made.gate_up_proj[3].T + made.gate_up_proj_bias[3])
    assert torch.equal(made(x, indices, weights), (h @ made.down_proj[3].T + made.down_proj_bias[3]) * weights)


CHOICES = {
    "spread": [[i % 8, (i * 3 + 1) % 8] for i in range(40)],
    "some idle": [[0, 3], [3, 0], [5, 0]],
    "all to one": [[6, 6]] * 9,
    "foreign": [[8, 1], [2, 9], [11, 8]],
    "nobody": [[8, 8]] * 3,
}


@pytest.mark.parametrize("implementation", sorted(set(RUNNABLE) - {"loop"}))
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("choices", CHOICES)
def test_implementations_equal_the_loop(implementation, form, choices, monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK_ROWS", 16)
    given = inputs(CHOICES[choices])
    expected = results(experts("loop", **FORMS[form]), *given)
    for name, value in results(experts(implementation, **FORMS[form]), *given).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_loop_is_the_formula():
    made = experts("loop")
    x, indices, weights = inputs(CHOICES["spread"])
    y = made(x, indices, weights)
    for t in range(len(x)):
        expected = 0
        for e, w in zip(indices[t].tolist(), weights[t], strict=True):
            gate, up = (made.gate_up_proj[e] @ x[t]).chunk(2)
            expected = expected + w * (made.down_proj[e] @ (F.silu(gate) * up))
        torch.testing.assert_close(y[t], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", RUNNABLE)
def test_an_empty_batch(implementation):
    made = experts(implementation)
    found = results(made, torch.empty(0, 16), torch.empty(0, 2, dtype=torch.long), torch.empty(0, 2))
    assert found["y"].shape == (0, 16)
    assert all(found[name].abs().sum() == 0 for name, _ in made.named_parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("implementation", RUNNABLE)
def test_a_nan_expert_spoils_its_own_tokens_alone(implementation, dtype):
    made = experts(implementation, dtype)
    with torch.no_grad():
        made.down_proj[3] = float("nan")
    x, indices, weights = inputs(CHOICES["spread"], dtype)
    found = results(made, x, indices, weights)
    spoiled = (indices == 3).any(1)
    assert found["y"][spoiled].isnan().all() and found["y"][~spoiled].isfinite().all()
    assert found["x"][~spoiled].isfinite().all()
    others = [e for e in range(8) if e != 3]
    assert found["gate_up_proj"][others].isfinite().all() and found["down_proj"][others].isfinite().all()


@pytest.mark.parametrize("implementation", RUNNABLE)
def test_a_nan_token_spoils_itself_and_its_experts_alone(implementation):
    x, indices, weights = inputs(CHOICES["spread"], torch.bfloat16)
    x[0] = float("nan")
    found = results(experts(implementation, torch.bfloat16), x, indices, weights)
    assert found["y"][1:].isfinite().all() and found["x"][1:].isfinite().all()
    others = [e for e in range(8) if e not in indices[0]]
    assert found["gate_up_proj"][others].isfinite().all()


def test_bf16_is_no_further_from_the_truth_than_a_product_at_a_time():
    x, indices, weights = inputs(CHOICES["spread"], torch.bfloat16)
    truth = results(experts("loop", torch.bfloat16).float(), x.float(), indices, weights.float())
    errors = {
        name: {
            key: (value.float() - truth[key]).norm() / truth[key].norm()
            for key, value in results(experts(name, torch.bfloat16), x, indices, weights).items()
        }
        for name in RUNNABLE
    }
    for name in ("blockwise", "simd") if "simd" in RUNNABLE else ("blockwise",):
        for key, error in errors[name].items():
            assert error <= 1.25 * errors["loop"][key] + 1e-4, f"{name}: {key}"


def test_frozen_weights_get_no_gradient():
    made = experts("blockwise")
    made.gate_up_proj.requires_grad_(False)
    x, indices, weights = inputs(CHOICES["spread"])
    found = results(made, x, indices, weights)
    assert found["gate_up_proj"] is None and found["down_proj"] is not None and found["x"].abs().sum() > 0


def test_coarse_groups_hold_every_choice_once_and_waste_little():
    torch.manual_seed(0)
    indices = torch.rand(4096, 8).topk(2, dim=1).indices
    groups = group(indices, 8, coarse=True)
    sizes = torch.tensor(groups.sizes)
    counts = indices.flatten().bincount(minlength=8)
    assert (sizes % 8 == 0).all() and (sizes >= counts).all() and sizes.sum() < 1.07 * counts.sum()
    assert groups.choices[groups.rows.flatten()].equal(torch.arange(indices.numel()))
    experts_of_rows = torch.repeat_interleave(sizes)
    assert indices.flatten()[groups.choices].equal(experts_of_rows)  # filling too: no row mixes experts


def test_backends_that_cannot_run_say_why():
    config = MoEConfig(dim=16, moe_inter_dim=24, n_routed_experts=8, n_activated_experts=2)
    with pytest.raises(ImportError, match="DeepEP.*not installed"):
        GroupedExpertsDeepEP(config)
    with pytest.raises(ImportError, match="Transformer Engine.*not installed"):
        GroupedExpertsTE(config)
    with pytest.raises(ValueError, match="experts: 'fast'"):
        BackendConfig(experts="fast")
    with pytest.raises(ValueError, match="xielu; use loop"):
        experts("blockwise", expert_activation="xielu")
    assert experts("auto", expert_activation="xielu").implementation is EXPERTS["loop"]
