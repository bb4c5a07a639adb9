"""What holds for models with mixtures of experts besides: routing, padding, the order of experts, balance."""

import re

import pytest
import torch

from nemo_automodel._transformers.auto_model import NeMoAutoModelForCausalLM
from nemo_automodel.components.moe.fsdp_mixin import MoEFSDPSyncMixin
from nemo_automodel.components.moe.layers import MoE
from tests.contract.asserting import close
from tests.contract.binding import Binding


class ExpertsContract(Binding):
    def mixtures(self, model):
        """Layers with experts, by their number."""
        layers = enumerate(model.base_model.decoder_layers)
        return {n: part for n, layer in layers for part in layer.children() if isinstance(part, MoE)}

    def their_mixtures(self, variant):
        """The same layers of the reference: what holds its experts."""
        modules = dict(self.given(variant).model.named_modules())
        holders = {path.rpartition(".")[0]: path for path in modules if path.endswith(".experts")}
        return {int(re.search(r"\.(\d+)\.", path).group(1)): modules[path] for path in holders}

    def tokens(self, variant, rows=96):
        """[1, T, D]: nothing at all (every score ties), the same text twice, small, large and negative values."""
        generator = torch.Generator().manual_seed(9)
        x = torch.randn(rows, self.config(variant).hidden_size, generator=generator)
        x[:4], x[4:8], x[8:40] = 0, x[8:12], x[8:40] * 20
        x[40:60] = -x[40:60].abs() * 5
        return x[None]

    def test_gradients_can_be_accumulated_without_reducing_them(self):
        assert issubclass(self.model_class, MoEFSDPSyncMixin)

    def test_routing_equals_the_reference(self, main):
        """Which experts a token gets, and with what weights: over ties, and where all scores are negative."""
        theirs, x = self.their_mixtures(main), self.tokens(main)
        for number, mixture in self.mixtures(self.ours(main)).items():
            with torch.no_grad():
                _, weights, chosen = mixture.gate(x[0])
                wanted = choices(theirs[number], x)
            if wanted is not None:
                close(spread(weights, chosen, mixture), spread(*wanted, mixture))

    def test_mixtures_equal_the_reference(self, main, backend):
        theirs, x = self.their_mixtures(main), self.tokens(main)
        for number, mixture in self.mixtures(self.ours(main, backend)).items():
            with torch.no_grad():
                out = theirs[number](x)
                close(mixture(x), (out[0] if isinstance(out, tuple) else out).view_as(x))

    def test_padding_is_not_routed(self, main, backend):
        """A padded batch gives each sequence what it gets alone, and leaves no trace of padding in the load."""
        model = self.fresh(main, backend)
        for side in ("left", "right"):
            batch = self.batch(side)
            places = (batch.mask.cumsum(1) - 1).clamp(min=0)
            together = self.logits(model, batch, position_ids=places).split(batch.real.sum(1).tolist())
            for ids, real, logits in zip(batch.ids, batch.real, together, strict=True):
                with torch.no_grad():
                    close(logits, model(ids[real][None]).logits[0])
        model.train()
        model(batch.ids, attention_mask=batch.mask)
        for mixture in self.mixtures(model).values():
            assert mixture.gate.load.sum() == batch.real.sum() * mixture.gate.top_k

    def test_swapped_experts_are_noticed(self, main, backend):
        """Two experts that changed places on disk are another model."""
        model = self.fresh(main, backend)
        with torch.no_grad():
            for mixture in self.mixtures(model).values():
                for parameter in mixture.experts.parameters():
                    parameter[[0, 1]] = parameter[[1, 0]]
        swapped = model.state_dict_adapter.to_hf(dict(model.state_dict()))
        again = self.fresh(main, backend)
        again.load_state_dict(swapped, strict=False)
        wanted = self.logits(self.given(main).model, self.batch())
        assert (self.logits(again, self.batch()) - wanted).abs().max() > 1e-2 * wanted.abs().max()

    def test_a_missing_expert_is_an_error(self, backend, tmp_path):
        """That names the expert; where experts lie in one tensor, one that lacks the last of them is refused."""
        disk = dict(self.given().disk)
        one_each = [name for name in disk if re.search(r"\.experts\.1\.", name)]
        layer = re.search(r"\.\d+\.", (one_each or stacked(disk))[0]).group()
        if one_each:
            for name in one_each:
                if layer in name:
                    del disk[name]
        else:
            for name in stacked(disk):
                disk[name] = disk[name][:-1]
        self.write(tmp_path, disk)
        with pytest.raises((ValueError, RuntimeError)) as caught:
            NeMoAutoModelForCausalLM.from_pretrained(tmp_path, backend={"projections": backend})
        assert re.search(r"\b1\b" if one_each else "experts", str(caught.value))

    @pytest.mark.parametrize("side", ["plain", "left"])
    def test_balance_equals_the_reference(self, main, backend, side):
        """Router logits and the load-balancing loss, and the loss with it, where the reference records any."""
        batch, model, reference = self.batch(side), self.ours(main, backend), self.given(main).model
        asked = {"attention_mask": batch.mask, "output_router_logits": True}
        with torch.no_grad():
            ours, theirs = model(batch.ids, labels=batch.labels, **asked), reference(batch.ids, **asked)
            assert len(ours.router_logits) == len(self.mixtures(model))
            if getattr(theirs, "router_logits", None) and getattr(theirs, "aux_loss", None) is not None:
                close(ours.aux_loss, theirs.aux_loss)
                close(ours.loss, reference(batch.ids, labels=batch.labels, **asked).loss)
                for mine, their in zip(ours.router_logits, theirs.router_logits, strict=True):
                    close(mine[batch.real.flatten()], their.view_as(mine)[batch.real.flatten()])


def choices(mixture, x):
    """Weights and experts [T, k] that a reference's layer hands to its experts; None where it hands over neither."""
    seen = []
    handle = mixture.experts.register_forward_pre_hook(lambda module, args, kwargs: seen.append(args), with_kwargs=True)
    mixture(x)
    handle.remove()
    tensors = [value for value in seen[0][1:] if isinstance(value, torch.Tensor)]
    chosen = [value for value in tensors if not value.is_floating_point()]
    weights = [value for value in tensors if value.is_floating_point()]
    return (weights[0], chosen[0]) if chosen and weights and weights[0].shape == chosen[0].shape else None


def spread(weights, chosen, mixture):
    """Weights [T, E], whatever the order of the choices."""
    return torch.zeros(len(weights), mixture.config.n_routed_experts).scatter(1, chosen, weights.float())


def stacked(disk):
    """Tensors that hold all experts of a layer."""
    return [name for name, tensor in disk.items() if tensor.dim() == 3]
