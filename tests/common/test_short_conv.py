"""Short convolutions against a formula of their own, and the states that caches hold of them."""

import pytest
import torch
from transformers import DynamicCache, Lfm2Config

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.causal_conv import convolve, convolve_stepwise, form
from nemo_automodel.components.models.common.convolution import Convolution, GatedConvolution, by_taps
from nemo_automodel.components.models.common.row_blocks import block_bytes
from nemo_automodel.components.models.lfm2.model import Lfm2ForCausalLM
from tests.common.states import SETTINGS, StateTests, ids

FORMS = pytest.mark.parametrize("convolution", [convolve, convolve_stepwise])


def inputs(length=9, taps=4):
    torch.manual_seed(0)
    shapes = (2, length, 6), (6, taps), (6,), (2, taps - 1, 6)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def by_definition(x, weight, bias, before=None, documents=None):
    """A sum over pairs of positions, in which only those within reach and of one document count."""
    past = 0 if before is None else before.shape[1]
    whole = x if before is None else torch.cat((before, x), dim=1)
    places = torch.arange(whole.shape[1])
    distance = places[past:, None] - places[None]
    reach = (distance >= 0) & (distance < weight.shape[1])
    kernel = weight.flip(1)[:, distance.clamp(0, weight.shape[1] - 1)] * reach  # [H, S, T]
    kernel = kernel if documents is None else kernel * (documents[:, None, :, None] == documents[:, None, None, :])
    kernel = kernel.expand(len(x), -1, -1, -1) if documents is None else kernel
    return torch.einsum("bhst,bth->bsh", kernel, whole) + bias


@FORMS
@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("case", ["whole", "continued", "packed"])
def test_outputs_and_gradients(convolution, length, case):
    x, weight, bias, before = inputs(length)
    before = before if case == "continued" else None
    documents = torch.tensor([[0, 0, 1, 2, 2, 2, 2, 2, 3], [0] * 5 + [1] * 4])[:, :length] if case == "packed" else None
    leaves = [x, weight, bias, *([] if before is None else [before])]
    found = convolution(x, weight, bias, before=before, documents=documents)
    wanted = by_definition(x, weight, bias, before, documents)
    torch.testing.assert_close(found, wanted)
    direction = torch.randn_like(found)
    for ours, theirs in zip(*(torch.autograd.grad(y, leaves, direction) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs)


WIDE = block_bytes() // 16 // 2  # channels of which two tokens are a block


def gated(B, C, x, weight, bias, documents):
    return C * by_taps(B * x, weight, bias, x.new_zeros(1, 3, x.shape[-1]), documents)


PLACES = (1, 9, WIDE), (WIDE, 4), (WIDE,), (1, 3, WIDE)


@pytest.mark.parametrize(
    "node, plain, shapes",
    [
        (Convolution.apply, by_taps, PLACES),
        (GatedConvolution.apply, gated, (*PLACES[:1] * 3, *PLACES[1:3])),
    ],
    ids=["plain", "gated"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
def test_nodes_are_sums_over_taps_bit_for_bit(node, plain, shapes, dtype, packed):
    """In several blocks, whose first and last are shorter than the reach of the taps."""
    torch.manual_seed(0)
    leaves = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2]]) if packed else None
    found, wanted = node(*leaves, documents), plain(*leaves, documents)
    assert torch.equal(found, wanted)
    direction, wide = torch.randn_like(found), [one.detach().float().requires_grad_() for one in leaves]
    true = torch.autograd.grad(plain(*wide, documents), wide, direction.float())
    bound = 1e-6 if dtype == torch.float32 else 2**-7
    for ours, theirs in zip(torch.autograd.grad(found, leaves, direction), true, strict=True):
        assert (ours - theirs).abs().max() <= bound * theirs.abs().max()


def test_low_precision_rounds_once():
    x, weight, bias, _ = (one.detach().bfloat16() for one in inputs())
    wanted = by_definition(*(one.double() for one in (x, weight, bias))).bfloat16()
    torch.testing.assert_close(convolve(x, weight, bias), wanted, rtol=2**-8, atol=1e-6)


def test_a_missing_package_says_so():
    with pytest.raises(ImportError, match="needs the package causal-conv1d"):
        form("causal_conv1d")
    with pytest.raises(ImportError, match="backend.conv"):
        model(backend={"conv": "causal_conv1d"})


def model(backend=None, **fields):
    torch.manual_seed(1)
    config = Lfm2Config(
        **{"vocab_size": 61, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 4, "pad_token_id": 0},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "conv_L_cache": 4, "block_multiple_of": 8},
        **{"eos_token_id": None, "layer_types": ["conv", "full_attention", "conv", "conv"], **fields},
    )
    made = Lfm2ForCausalLM(config, BackendConfig.of(backend)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


class TestShortConv(StateTests):
    sums = "conv"
    packed = {"conv_bias": True}
    model = staticmethod(model)


def test_lookup_in_the_prompt_goes_back_and_on():
    made, text = model(), ids(6, 1).repeat(1, 2)
    wanted = made.generate(text, **SETTINGS, use_cache=False)
    assert torch.equal(made.generate(text, **SETTINGS, prompt_lookup_num_tokens=3), wanted)


@torch.no_grad()
def test_padding_read_token_by_token_leaves_no_trace():
    made, text = model(), ids(7)
    padded = torch.cat((torch.zeros(2, 3, dtype=torch.long), text), dim=1)
    mask = (padded != 0).long()
    positions, cache = (mask.cumsum(-1) - 1).clamp(min=0), DynamicCache(config=made.config)
    for place in range(10):
        one = slice(place, place + 1)
        given = {"attention_mask": mask[:, : place + 1], "position_ids": positions[:, one]}
        last = made(input_ids=padded[:, one], past_key_values=cache, **given).logits
    torch.testing.assert_close(last[:, 0], made(input_ids=text).logits[:, -1])


@torch.no_grad()
def test_cropped_caches_go_on_as_if_nothing_had_been():
    made, text, cache = model(), ids(), None
    cache = DynamicCache(config=made.config)
    made(input_ids=text[:, :5], past_key_values=cache)
    cache.activate_past_recording()
    made(input_ids=ids(4), past_key_values=cache)
    cache.crop(-4)
    found = made(input_ids=text[:, 5:], past_key_values=cache).logits
    torch.testing.assert_close(found, made(input_ids=text).logits[:, 5:])


@torch.no_grad()
def test_layers_of_convolutions_alone():
    made = model(layer_types=["conv"] * 4)
    cache = DynamicCache(config=made.config)
    found = [made(input_ids=one, past_key_values=cache).logits for one in ids().split(4, dim=1)]
    torch.testing.assert_close(torch.cat(found, dim=1), made(input_ids=ids(), use_cache=False).logits)
