"""The gated MLP: gate and up as two matrices, or as one whose rows are interleaved."""

from torch import nn

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.checkpoint.rules import PackGateUp, ReorderGateUp, packed_name
from nemo_automodel.components.models.common.combined_projection.packing import PackingMixin
from nemo_automodel.components.models.common.glu import Lies
from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.models.common.recomputed import projected


class CombinedGateUpMLP(PackingMixin, nn.Module):
    """down(activation(gate(x)) * up(x)): [B, S, H] -> [B, S, H].

    width, activation, bias: `config.intermediate_size`, `config.hidden_act` and `config.mlp_bias` (if it has one) where
    they are not given. biases: flags for gate, up, down in place of `bias`; where gate's and up's differ nothing is
    packed, nor where `packed` is False (other layers have a plain MLP under the same names). names: of gate, up and
    down. fused: the name of one matrix that checkpoints store, its rows `groups` equal blocks in that `order`; it stays
    one on every backend, and a packing one interleaves its rows (rule ReorderGateUp) under the name `<fused>_packed`.
    linear: the class of its projections.
    """

    def __init__(
        self,
        config,
        backend=None,
        *,
        width=None,
        activation=None,
        bias=None,
        biases=None,
        names=("gate_proj", "up_proj", "down_proj"),
        fused=None,
        groups=1,
        order=("gate", "up"),
        packed=None,
        linear=nn.Linear,
    ):
        super().__init__()
        width = config.intermediate_size if width is None else width
        bias = getattr(config, "mlp_bias", False) if bias is None else bias
        gate, up, down = map(bool, biases or (bias, bias, bias))
        backend = BackendConfig.of(backend)
        packs, self._glu = backend.packed and packed is not False and gate == up, backend.glu
        self._order, self._blocks, self._names, self._fused = order, groups, tuple(names), fused
        if packs:
            self._setup_packed(config.hidden_size, width, gate, linear)
        elif fused:
            place(self, fused, linear(config.hidden_size, 2 * width, bias=gate or up))
        else:
            place(self, names[0], linear(config.hidden_size, width, bias=gate))
            place(self, names[1], linear(config.hidden_size, width, bias=up))
        place(self, names[2], linear(width, config.hidden_size, bias=down))
        self.act_fn = ACT[config.hidden_act if activation is None else activation]

    def _setup_packed(self, hidden_size, width, bias, linear):
        if self._fused:
            rule = ReorderGateUp("", self._blocks, order=self._order)
            self.setup_packing(packed_name(self._fused), rule, hidden_size, {self._fused: 2 * width}, bias, linear)
        else:
            parts = self._names[:2]
            rows = dict.fromkeys(parts, width)
            self.setup_packing("gate_up_proj", PackGateUp("", parts), hidden_size, rows, bias, linear)

    def _one_matrix(self, x):
        """What one matrix makes of x, [B, S, 2I], and how gate and up lie in it; None where there are two."""
        if self.packed:
            return self.packed_product(x), Lies(1)
        if self._fused is None:
            return None
        h = self.products(x, self._fused)[0]
        return h, Lies(h.shape[-1] // (2 * self._blocks), self._order[0] == "gate")

    def compute_gate_up(self, x):
        """[B, S, H] -> gate and up, [B, S, I] each."""
        one = self._one_matrix(x)
        return self.products(x, *self._names[:2]) if one is None else one[1].parts(one[0])

    def forward(self, x, padding_mask=None):
        """The mask is for experts, which other layers may have in its place."""
        down, one = self.get_submodule(self._names[2]), self._one_matrix(x)
        if one is None:
            return projected(down, self.act_fn, *self.compute_gate_up(x), by=self._glu)
        return projected(down, self.act_fn, one[0], lies=one[1], by=self._glu)
