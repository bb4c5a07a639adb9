"""References that cut their modules elsewhere, clamp in place, or clear what they load."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nemo_automodel.parity.batches import batches
from nemo_automodel.parity.counterparts import counterparts, cut_elsewhere, without_counterpart
from nemo_automodel.parity.reference import in_fp64, restore, truth_in_fp64
from nemo_automodel.parity.tracing import align, traced

BATCH = batches(131)["short"]


class Adding(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8, bias=False)

    def forward(self, x, residual=None):
        return self.linear(x) if residual is None else residual + self.linear(x)


class HandingOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.bias = nn.Linear(8, 8, bias=False), nn.Parameter(torch.ones(8))

    def forward(self, x):
        return self.linear(x), self.bias


class Model(nn.Module):
    """As the reference, or in place of it: everything in its module."""

    def __init__(self, ours=False):
        super().__init__()
        self.table, self.ours = nn.Embedding(131, 8), ours
        self.adding = Adding()
        self.handing = nn.Sequential(nn.Linear(8, 8)) if ours else HandingOut()
        self.clamped = nn.Linear(8, 8)
        self.holder = nn.ModuleDict({"inner": nn.Linear(8, 8)}) if ours else nn.Linear(8, 8)

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        x = self.table(input_ids)
        if self.ours:
            x = x + self.adding(x)
            x = self.handing(x)
            return self.holder["inner"](self.clamped(x).clamp(-0.1, 0.1))
        x = self.adding(x, x)
        y, bias = self.handing(x)
        return self.holder(self.clamped(y + bias).clamp_(-0.1, 0.1))


def test_modules_that_add_a_residual_or_hand_out_a_parameter_are_no_counterparts():
    assert sorted(cut_elsewhere(Model(), BATCH)) == ["adding", "handing"]
    paths = [path for depth in counterparts(Model(ours=True), Model(), BATCH) for path in depth]
    assert paths == ["table", "adding.linear", "clamped"]


def test_a_module_without_the_references_bias_is_no_counterpart():
    ours, reference = Model(), Model()
    reference.clamped = nn.Linear(8, 8, bias=False)
    assert "clamped" not in [path for depth in counterparts(ours, reference, BATCH) for path in depth]


class Mixture(nn.Module):
    """Every expert on all tokens, or each on its own."""

    def __init__(self, ours):
        super().__init__()
        self.table, self.experts, self.ours = nn.Embedding(131, 8), nn.Linear(8, 8), ours
        if ours:
            self.joined = nn.Linear(8, 8)

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        x = self.table(input_ids).flatten(0, 1)
        return self.joined(self.experts(x)) if self.ours else self.experts(x.repeat(3, 1))


def test_a_module_that_is_given_other_values_is_no_counterpart():
    ours, reference = Mixture(ours=True), Mixture(ours=False)
    assert counterparts(ours, reference, BATCH) == [["table"]]
    assert counterparts(ours, ours, BATCH) == [["table", "experts", "joined"]]


def test_what_has_no_counterpart_is_told_with_what_it_is_judged_in():
    assert without_counterpart(Mixture(ours=True), Mixture(ours=False), BATCH) == {"experts": "", "joined": ""}
    assert without_counterpart(Model(ours=True), Model(), BATCH) == {"handing.0": "", "holder.inner": ""}
    deeper = Model(ours=True)
    deeper.adding.linear = nn.Sequential(nn.Linear(8, 8, bias=False))
    assert without_counterpart(deeper, Model(), BATCH)["adding.linear.0"] == "adding.linear"


def test_a_traced_output_is_what_the_module_gave():
    model = Model()
    with torch.no_grad(), traced(model, ["clamped"]) as trace:
        model(BATCH.ids)
    assert trace.outputs["clamped"].abs().max() > 0.1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((2, 24, 10), (2, 1, 24, 10)),
        ((2, 1, 24, 2), (2, 3, 24, 4)),
        ((2, 24, 6, 5), (2, 6, 24, 5)),
        ((1, 24, 10), (2, 24, 10)),
    ],
)
def test_layouts_of_the_same_values(ours, theirs):
    assert align(torch.ones(ours), torch.ones(theirs)).shape == theirs


def test_what_loading_cleared_is_put_back():
    model = nn.Embedding(3, 2)
    disk = {"weight": model.weight.detach().clone()}
    with torch.no_grad():
        model.weight[0], model.weight[1] = 0.0, 7.0  # the second is no clearing, and stays
    restore(model, disk)
    assert torch.equal(model.weight[0], disk["weight"][0])
    assert torch.equal(model.weight[1], torch.full((2,), 7.0))


NARROWING = {
    "softmax": lambda x: nn.functional.softmax(x, dim=-1, dtype=torch.float32),
    "float": lambda x: x.float(),
    "type": lambda x: x.type(torch.float32),
    "to": lambda x: x.to(torch.float32),
    "to by keyword": lambda x: x.to(device="cpu", dtype=torch.float),
    "sum": lambda x: x.sum(dtype=torch.float32),
    "new": lambda x: x.new_zeros(2, dtype=torch.float32),
    "like": lambda x: torch.zeros_like(x, dtype=torch.float32),
}


@pytest.mark.parametrize("narrow", NARROWING.values(), ids=NARROWING)
def test_fp64_stays_and_what_is_narrower_is_as_it_was(narrow):
    with truth_in_fp64():
        assert narrow(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
        assert narrow(torch.ones(2, dtype=torch.float32)).dtype == torch.float32
        assert torch.full((), torch.finfo(torch.float64).min).dtype == torch.float64
    assert narrow(torch.ones(2, dtype=torch.float64)).dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


def test_weights_are_in_fp64_and_tables_as_in_fp32():
    model = nn.Linear(2, 2)
    model.register_buffer("bias_of_choice", torch.ones(2))
    model.register_buffer("inv_freq", torch.ones(2), persistent=False)
    wide = in_fp64(model)
    assert {wide.weight.dtype, wide.bias.dtype, wide.bias_of_choice.dtype} == {torch.float64}
    assert {wide.inv_freq.dtype, model.weight.dtype} == {torch.float32}


def test_the_reference_class_may_have_the_models_name_alone():
    from transformers import Emu3ForCausalLM, Emu3TextConfig, LlamaConfig

    from nemo_automodel.parity.subject import transformers_class

    assert transformers_class(Emu3TextConfig, "Emu3ForCausalLM") is Emu3ForCausalLM
    assert transformers_class(LlamaConfig, "Emu3ForCausalLM").__name__ == "LlamaForCausalLM"
    with pytest.raises(LookupError, match="no causal language model for Emu3TextConfig"):
        transformers_class(Emu3TextConfig, SimpleNamespace.__name__)
