"""Lightning attention: its rates, caches, padding, packed documents, and checkpoints that hold what it derives."""

import pytest
import torch
from transformers import DynamicCache, MiniMaxConfig
from transformers.models.minimax.modeling_minimax import MiniMaxForCausalLM as Theirs

from nemo_automodel._transformers.auto_model import NeMoAutoModelForCausalLM
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.mask_kinds import Rows
from nemo_automodel.components.models.minimax.model import MiniMaxForCausalLM
from nemo_automodel.testing.asserting import close
from tests.common.states import RecurrentTests, ids


def config(**fields):
    sizes = {
        **{"vocab_size": 61, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "pad_token_id": 0},
        **{"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 4},
        **{"eos_token_id": None, "bos_token_id": None, "linear_attn_alpha_factor": 0.7, "block_size": 5},
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    }
    return MiniMaxConfig(**{**sizes, **fields})


def model(backend=None, **fields):
    torch.manual_seed(1)
    made = MiniMaxForCausalLM(config(**fields), BackendConfig.of(backend)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


class TestLightning(RecurrentTests):
    sums = "scan"
    model = staticmethod(model)
    equal = staticmethod(close)


def test_rates_are_those_of_the_reference():
    """Of each head and layer, in fp32 whatever the model is in, where the reference rounds them."""
    theirs = Theirs(config()).model.layers
    for layer in (0, 2):
        mixer = model().model.layers[layer].self_attn
        wanted = theirs[layer].self_attn.slope_rate.flatten()
        torch.testing.assert_close(-mixer.rates(torch.ones(1)), wanted)
        torch.testing.assert_close(-mixer.rates(torch.ones(1, dtype=torch.bfloat16)), wanted)
        assert mixer.rates(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


def mixer(**fields):
    return model(hidden_size=48, **fields).model.layers[0].self_attn


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("activation", ["silu", "xielu"])
def test_gradients_are_those_of_the_recurrent_form(activation, padded):
    """Of an activation's own parameters too, which each chunk reads; over more than one chunk."""
    text = torch.arange(150)[None] >= torch.tensor([[0], [20 * padded]])
    x, found = torch.randn(2, 150, 48, dtype=torch.float64, requires_grad=True), []
    for scan in ("torch", "stepwise"):
        made = mixer(hidden_act=activation, backend={"scan": scan}).double()
        y = made(x, None, Rows(text=text) if padded else None)[0] * text[..., None]
        found.append((y, *torch.autograd.grad(y.square().sum(), (x, *made.parameters()))))
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_the_backward_pass_keeps_what_projections_gave_and_no_more():
    """q, k, v, their sum, its norm, the gate and their product: 7 times [S, N * D]; a state a chunk beside them."""
    made, kept = mixer(), {}
    x = torch.randn(1, 512, 48, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.setdefault(one.data_ptr(), one), lambda one: one):
        made(x, None, None)
    own = [x, *made.parameters()]
    held = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in kept.values()}
    rest = sum(size for place, size in held.items() if place not in {one.data_ptr() for one in own})
    assert rest <= 4 * 8.5 * 512 * made.width


@torch.no_grad()
def test_an_activation_of_zero_need_not_be_zero():
    """Padding is zero behind the activation: a sigmoid of its zeros would reach the state."""
    made, text = model(hidden_act="sigmoid"), ids(7)
    padded, zeros = torch.nn.functional.pad(text, (3, 0)), torch.zeros(2, 3, dtype=torch.long)
    mask = torch.cat((zeros, torch.ones_like(text)), dim=1)
    found = made(input_ids=padded, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits
    close(found[:, 3:], made(input_ids=text).logits)


@torch.no_grad()
def test_a_token_after_padding_finds_the_state_as_it_was():
    """Time stands still at padding, also on the right of what a cache holds; the reference lets the state decay."""
    made, text = model(layer_types=["linear_attention"] * 3), ids(8)
    cache, mask = DynamicCache(config=made.config), torch.ones(2, 10, dtype=torch.long)
    mask[:, 7:9] = 0
    padded = torch.cat((text[:, :7], torch.zeros(2, 2, dtype=torch.long)), dim=1)
    made(input_ids=padded, attention_mask=mask[:, :9], past_key_values=cache)
    found = made(input_ids=text[:, 7:], attention_mask=mask, past_key_values=cache).logits
    close(found, made(input_ids=text).logits[:, -1:])


@torch.no_grad()
def test_checkpoints_with_derived_buffers_go_both_ways(tmp_path):
    theirs, text = Theirs(config()).eval(), ids()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = NeMoAutoModelForCausalLM.from_pretrained(tmp_path / "theirs", attn_implementation="eager")
    assert isinstance(ours, MiniMaxForCausalLM)
    close(ours(input_ids=text).logits, theirs(input_ids=text).logits)
    ours.save_pretrained(tmp_path / "ours")
    back = Theirs.from_pretrained(tmp_path / "ours", attn_implementation="eager")
    buffers = dict(theirs.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in back.named_buffers())
    close(ours(input_ids=text).logits, back(input_ids=text).logits)
