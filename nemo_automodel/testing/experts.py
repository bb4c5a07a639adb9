"""What holds for models with mixtures of experts besides: routing, padding, the order of experts, balance."""

import inspect
import re

import pytest
import torch
from torch.overrides import TorchFunctionMode

from nemo_automodel.components.models.common import releases
from nemo_automodel.components.moe.experts import GroupedExperts
from nemo_automodel.components.moe.fsdp_mixin import MoEFSDPSyncMixin
from nemo_automodel.parity import mixtures
from nemo_automodel.parity.compare import distance, failures
from nemo_automodel.parity.ours import has_one_order
from nemo_automodel.parity.routing import recorded
from nemo_automodel.parity.state_dict import read
from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.testing.asserting import close
from nemo_automodel.testing.binding import Binding, summed_alike

LEAK = 1e-3  # of the largest value: more than rounding


class ExpertsContract(Binding):
    def test_gradients_can_be_accumulated_without_reducing_them(self):
        assert issubclass(self.model_class, MoEFSDPSyncMixin)

    def test_routing_equals_the_reference(self, main):
        """Which experts a token gets, and with what weights: over ties, where all scores are negative, or faint."""
        theirs = mixtures.reference_mixtures(self.given(main).model)
        for number, mixture in mixtures.mixtures(self.ours(main)).items():
            with torch.no_grad():
                x = mixtures.tokens(mixture)
                _, weights, chosen = mixture.token_router(x[0])
                close(spread(weights, chosen, mixture), choices(theirs[number], x, mixture))

    def test_mixtures_equal_the_reference(self, main, backend):
        reference, ours = self.given(main).model, self.ours(main, backend)
        assert {*mixtures.mixtures(ours)} == {*mixtures.reference_mixtures(reference)}  # none in some variants
        assert not failures(mixtures.compare(reference, ours))

    def test_a_checkpoint_in_half_precision_equals_the_reference_bit_for_bit(self, tmp_path):
        """As published. Routers that this release of transformers does not pin to fp32, as ours are, cost no bit."""
        if not has_one_order(self.ours()):
            return  # within a bound, in the proofs of bf16
        reference, half = self.given(), {"dtype": torch.bfloat16}
        self.write(tmp_path, {name: tensor.to(**half) for name, tensor in reference.disk.items()})
        options = {"attn_implementation": "eager", "backend": {"experts": "loop"}, **half}
        ours, theirs = self.auto_class.from_pretrained(tmp_path, **options), reference.load(tmp_path, **half)
        ours = summed_alike(ours, theirs)
        assert torch.equal(self.logits(ours, self.batch()), self.logits(theirs.eval(), self.batch()))

    def test_experts_stored_the_other_way_round(self, tmp_path):
        """Those that lie as in memory are read by their shapes in either layout, and saved in that of the reference."""
        disk, names = self.given().disk, [*self.experts_as_in_memory()]
        assert bool(names) == bool(self.ours().state_dict_adapter.turnable)
        if not names:
            return
        for folder in ("turned", "saved"):
            (tmp_path / folder).mkdir()
        self.write(tmp_path / "turned", disk | {name: disk[name].transpose(1, 2).contiguous() for name in names})
        ours = self.auto_class.from_pretrained(tmp_path / "turned", attn_implementation="eager", dtype=torch.float32)
        assert torch.equal(self.logits(ours.eval(), self.batch()), self.logits(self.loaded(), self.batch()))
        base = type(ours.base_model).from_pretrained(tmp_path / "turned", dtype=torch.float32).state_dict()
        assert all(torch.equal(base[name], tensor) for name, tensor in ours.base_model.state_dict().items())
        if getattr(ours, "text_class", None):
            half = ours.text_class.from_pretrained(tmp_path / "turned", dtype=torch.float32).base_model.state_dict()
            assert all(torch.equal(half[name], t) for name, t in ours.base_model.get_decoder().state_dict().items())
        ours.save_pretrained(tmp_path / "saved")
        saved = read(tmp_path / "saved")
        assert saved.keys() == disk.keys() and all(torch.equal(saved[name], disk[name]) for name in disk)

    def loaded(self):
        """From the reference's checkpoint, as a user does it."""
        options = {"attn_implementation": "eager", "dtype": torch.float32}
        return self.auto_class.from_pretrained(self.given().folder, **options).eval()

    def experts_as_in_memory(self):
        """Names on disk of what is one tensor there too, under the name that it has in memory, with its rows."""
        adapter = self.ours().state_dict_adapter
        for path, module in self.ours().named_modules():
            for name, tensor in module.named_parameters(recurse=False) if isinstance(module, GroupedExperts) else ():
                stored = adapter.convert_single_tensor_to_hf(f"{path}.{name}", tensor)
                if tensor.dim() == 3 and stored[0][0].endswith(f".{name}") and stored[0][1].shape == tensor.shape:
                    yield stored[0][0]

    def test_padding_is_not_routed(self, main, backend):
        """A padded batch gives each sequence what it gets alone, and leaves no trace of padding in the load.

        Where padding leaks into a state by a projection's bias, it does so in the reference, and equally.
        """
        model, reference = self.fresh(main, backend), self.given(main).model
        for side in ("left", "right"):
            batch = self.batch(side)
            for row, text in enumerate(batch.alone()):
                logits, alone = _padded(model, batch, row), _alone(model, text)
                if distance(logits, alone) > FP32:
                    theirs = _padded(reference, batch, row)
                    assert distance(theirs, _alone(reference, text)) > LEAK
                    close(logits, theirs)
        model.train()
        model(**batch.inputs)
        for mixture in mixtures.mixtures(model).values():
            assert mixture.token_router.load.sum() == batch.real.sum() * mixture.token_router.top_k

    def test_padding_comes_by_the_front_door(self):
        """An argument of forward: what a hook leaves beside it is gone where a layer is replayed."""
        for layer in self.ours().base_model.decoder_layers:
            assert not layer._forward_pre_hooks
            assert "padding_mask" in inspect.signature(layer.forward).parameters

    def test_swapped_experts_are_noticed(self, main, backend):
        """Two experts that changed places on disk are another model."""
        model = self.fresh(main, backend)
        found = mixtures.mixtures(model).values()
        if not found:
            return  # a variant of the model that has none
        with torch.no_grad():
            for mixture in found:
                for parameter in mixture.routed_experts.parameters():
                    experts = mixture.routed_experts.by_expert(parameter)
                    experts[[0, 1]] = experts[[1, 0]]
        swapped = model.state_dict_adapter.to_hf(dict(model.state_dict()))
        again = self.fresh(main, backend)
        again.load_state_dict(swapped, strict=False)
        wanted = self.logits(self.given(main).model, self.batch())
        assert (self.logits(again, self.batch()) - wanted).abs().max() > 1e-2 * wanted.abs().max()

    def test_a_missing_expert_is_an_error(self, backend, tmp_path):
        """That names the expert; where experts lie in one tensor, one that lacks the last of them is refused."""
        disk = dict(self.given().disk)
        one_each = [name for name in disk if re.search(r"\.experts\.1\.", name)]
        layer = re.search(r"\.\d+\.", one_each[0]).group() if one_each else ""
        if one_each:
            for name in one_each:
                if layer in name:
                    del disk[name]
        else:
            short = rows_of_an_expert(self.ours(backend=backend), disk)
            disk |= {name: disk[name][:-rows] for name, rows in short.items()}
        self.write(tmp_path, disk)
        with pytest.raises((ValueError, RuntimeError)) as caught:
            self.auto_class.from_pretrained(tmp_path, backend={"projections": backend})
        assert re.search(r"\b1\b", str(caught.value)) if one_each else any(name in str(caught.value) for name in short)

    @pytest.mark.parametrize("side", ["plain", "left"])
    def test_balance_equals_the_reference(self, main, backend, side):
        """Router logits and the load-balancing loss, and the loss with it, where the reference records any."""
        batch, model, reference = self.batch(side), self.ours(main, backend), self.given(main).model
        if not mixtures.reference_mixtures(reference):
            return  # a variant without experts, of which some references ask for logits all the same
        asked = {**batch.inputs, "output_router_logits": True}
        with torch.no_grad():
            ours, theirs = model(labels=batch.labels, **asked), reference(**asked)
            assert len(ours.router_logits) == len(mixtures.mixtures(model))
            if releases.INSTALLED >= (5, 19):
                assert (ours.aux_loss is None) == (getattr(theirs, "aux_loss", None) is None)
            if ours.aux_loss is None:  # no weight, no loss: the logits are recorded, and nothing else changes
                assert getattr(theirs, "aux_loss", None) is None
                assert torch.equal(ours.loss, model(**batch.inputs, labels=batch.labels).loss)
            if getattr(theirs, "router_logits", None) and getattr(theirs, "aux_loss", None) is not None:
                close(ours.aux_loss, theirs.aux_loss)
                close(ours.loss, reference(labels=batch.labels, **asked).loss)
                for mine, their in zip(ours.router_logits, theirs.router_logits, strict=True):
                    close(mine[batch.real.flatten()], their.view_as(mine)[batch.real.flatten()])


def choices(theirs, x, ours):
    """Weights [T, E] by which a reference's layer mixes its experts: with their choices [T, k] or already spread, given
    to the experts or out of one of the layer's parts."""
    given, made = [], []
    handles = [theirs.experts.register_forward_pre_hook(lambda module, args: given.extend(args[1:]))]
    handles += [
        part.register_forward_hook(lambda module, args, out: made.extend(flat(out))) for part in theirs.children()
    ]
    theirs(x)
    for handle in handles:
        handle.remove()
    tensors = [value for value in (*given, *made) if isinstance(value, torch.Tensor) and value.dim() == 2]
    weights = [value for value in tensors if value.is_floating_point()]
    for chosen in (value for value in tensors if not value.is_floating_point()):
        if pair := [value for value in weights if value.shape == chosen.shape]:
            return spread(pair[0], chosen, ours)
    size, k = ours.config.n_routed_experts, ours.token_router.top_k
    for each in weights:
        if each.shape[1] == size and (each != 0).sum(1).max() <= k:
            return each
    return spread(*chosen_inside(theirs, x, k), ours)


def chosen_inside(theirs, x, k):
    """Weights and choices [T, k] of a layer that hands neither of them from one part to another."""
    with recorded() as found, Floats((x.shape[1], k)) as floats:
        theirs(x)
    return floats.last, found.made[-1]


class Floats(TorchFunctionMode):
    """The last floating-point tensor of a shape that some function made."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.last = shape, None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.shape == self.shape and out.is_floating_point():
            self.last = out
        return out


def flat(out):
    return out if isinstance(out, tuple) else (out,)


def spread(weights, chosen, mixture):
    """Weights [T, E], whatever the order of the choices."""
    return torch.zeros(len(weights), mixture.config.n_routed_experts).scatter(1, chosen, weights.float())


def rows_of_an_expert(model, disk):
    """{name on disk: rows} of the tensors that hold all experts of a layer, stacked or below one another."""
    experts = {
        f"{path}.{name}": module.num_experts
        for path, module in model.named_modules()
        if isinstance(module, GroupedExperts)
        for name, _ in module.named_parameters(recurse=False)
    }
    sources = model.state_dict_adapter.sources(disk)
    found = {name: experts[memory] for memory, one in sources.items() if memory in experts for (name,) in one.names}
    assert found
    return {name: disk[name].shape[0] // count for name, count in found.items()}


@torch.no_grad()
def _padded(model, batch, row):
    """Logits of the tokens of one row of a padded batch."""
    logits = model(**batch.inputs, position_ids=batch.given_positions).logits
    return logits[row][batch.real[row]]


@torch.no_grad()
def _alone(model, text):
    """Logits of one text."""
    return model(**text.inputs).logits[0]
