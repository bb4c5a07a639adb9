"""The linear recurrent unit of Griffin: its formula, caches, padding, packed documents, and values before training."""

import pytest
import torch
from transformers import RecurrentGemmaConfig

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.gated_scan import STEEPEST, SteepRoot, chunked
from nemo_automodel.components.models.common.masks import cache_layers
from nemo_automodel.components.models.recurrent_gemma.model import RecurrentGemmaForCausalLM
from tests.common.states import RecurrentTests, ids


def model(backend=None, **fields):
    torch.manual_seed(1)
    config = RecurrentGemmaConfig(
        **{"vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4},
        **{"num_hidden_layers": 3, "attention_window_size": 5, "pad_token_id": 0, "eos_token_id": None},
        **{"lru_width": 32, **fields},
    )
    made = RecurrentGemmaForCausalLM(config, BackendConfig.of(backend)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def cache(made, length=None):
    """Transformers' own, where the installed release has states for this config."""
    found = RecurrentTests.cache(made, length)
    if not hasattr(found.layers[0], "recurrent_states"):
        found.layers = cache_layers(made.base_model._layer_kinds, length)
    return found


class TestRgLru(RecurrentTests):
    sums = "scan"
    model = staticmethod(model)
    cache = staticmethod(cache)


def unit():
    return model().model.layers[0].temporal_block.double()


def by_definition(unit, x):
    """Token by token, in words of the paper: a = sigmoid(Lambda) ** (c * r), with Lambda the reference's, turned."""
    inner, found, state = unit.rg_lru, [], torch.zeros(len(x), unit.width, dtype=x.dtype)
    u = torch.nn.functional.pad(unit.linear_x(x), (0, 0, 3, 0))
    u = sum(u[:, tap : tap + x.shape[1]] * unit.conv_1d.weight[:, 0, tap] for tap in range(4)) + unit.conv_1d.bias
    for place in range(x.shape[1]):
        blocks = u[:, place].view(len(x), 4, 8)
        i, r = (
            torch.sigmoid(torch.stack([blocks[:, n] @ weight[n] + bias[n] for n in range(4)], 1).flatten(1))
            for weight, bias in (
                (inner.input_gate_weight, inner.input_gate_bias),
                (inner.recurrent_gate_weight, inner.recurrent_gate_bias),
            )
        )
        a = torch.sigmoid(-inner.recurrent_param) ** (8 * r)
        scale = 1 if place == 0 else (1 - a**2).sqrt()
        state = a * state + scale * i * u[:, place]
        found.append(state)
    return unit.linear_out(torch.stack(found, 1) * unit.activation(unit.linear_y(x)))


def test_the_unit_is_that_of_the_paper():
    made, positions = unit(), torch.arange(9)[None]
    x = torch.randn(2, 9, 24, dtype=torch.float64, requires_grad=True)
    wanted, found = by_definition(made, x), made(x, None, None, position_ids=positions)[0]
    torch.testing.assert_close(found, wanted)
    leaves = [x, *made.parameters()]
    for mine, theirs in zip(*(torch.autograd.grad(y.square().sum(), leaves) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_text_that_does_not_begin_at_its_first_position_is_scaled():
    made, x = unit(), torch.randn(1, 3, 24, dtype=torch.float64)
    begun, going = (made(x, None, None, position_ids=torch.arange(3)[None] + start)[0] for start in (0, 5))
    assert not torch.allclose(begun, going)


def test_a_root_is_never_too_steep():
    x = torch.tensor([0.0, 1e-12, 0.25, 1.0], requires_grad=True)
    root = SteepRoot.apply(x)
    root.sum().backward()
    torch.testing.assert_close(root, x.detach().sqrt())
    torch.testing.assert_close(x.grad, torch.tensor([STEEPEST, STEEPEST, 1.0, 0.5]))


def test_the_backward_pass_keeps_no_gates():
    """One x of [B, S, W], and a state a chunk; parameters are there anyway."""
    made, kept = unit(), []
    x = torch.randn(1, 128, made.width, dtype=torch.float64, requires_grad=True)
    inner = made.rg_lru
    gates = inner.input_gate_weight, inner.input_gate_bias, inner.recurrent_gate_weight, inner.recurrent_gate_bias
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        chunked(x, gates, inner.recurrent_param, chunk=16)
    assert sum(one.numel() for one in kept if not isinstance(one, torch.nn.Parameter)) <= x.numel() * 1.1


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(3, 2, 6), (1,) * 11])
def test_padding_that_fills_the_first_pieces_of_a_text(cuts):
    """A row that begins in a later piece begins there all the same."""
    made, text = model(), ids(7)
    mask = torch.cat((torch.zeros(2, 4, dtype=torch.long), torch.ones_like(text)), dim=1)
    padded = torch.nn.functional.pad(text, (4, 0))
    past, found, end = cache(made), [], 0
    for one in padded.split(cuts, dim=1):
        end += one.shape[1]
        found.append(made(input_ids=one, attention_mask=mask[:, :end], past_key_values=past).logits)
    torch.testing.assert_close(torch.cat(found, dim=1)[:, 4:], made(input_ids=text).logits)


def test_values_before_training_are_those_of_the_paper():
    made = RecurrentGemmaForCausalLM(model(lru_width=400).config)
    unit = made.model.layers[0].temporal_block
    squares = torch.sigmoid(-unit.rg_lru.recurrent_param) ** 2
    assert 0.809 < squares.min() < 0.83 and 0.98 < squares.max() < 0.9991
    assert abs(unit.rg_lru.input_gate_weight.std() / (0.01 / 100) ** 0.5 - 1) < 0.05
    assert abs(unit.linear_out.weight.std() / (2 / 3 / 400) ** 0.5 - 1) < 0.05
    assert all((bias == 0).all() for bias in (unit.linear_x.bias, unit.conv_1d.bias, unit.rg_lru.input_gate_bias))
