"""Query, key and value projections: three matrices, or one whose rows are grouped per KV head."""

from dataclasses import dataclass

from torch import nn

from nemo_automodel.components.models.common.checkpoint.rules import PackQKV, ReorderQKV, packed_name
from nemo_automodel.components.models.common.combined_projection.packing import PackingMixin
from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.models.common.unsupported import UnsupportedConfigError


@dataclass(frozen=True)
class QKVLayout:
    """Rows of a matrix that checkpoints store fused: `groups` equal blocks, each of `parts` one after the other."""

    parts: tuple[str, str, str] = ("q", "k", "v")
    groups: int = 1

    def check(self, rows):
        """Raises ValueError unless `parts` are q, k and v and the groups divide their rows {part: rows}."""
        if sorted(self.parts) != ["k", "q", "v"]:
            raise ValueError(f"QKVLayout.parts {self.parts} must name q, k and v once each")
        for part, count in rows.items():
            if count % self.groups:
                raise ValueError(f"QKVLayout: {self.groups} groups do not divide the {count} rows of {part}")


class CombinedQKVAttentionMixin(PackingMixin):
    """`setup_qkv_projection` chooses the storage, `compute_qkv` hides it. Expects `self.backend`."""

    _fused = None

    def setup_qkv_projection(
        self,
        hidden_size,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        bias=False,
        *,
        names=("q_proj", "k_proj", "v_proj"),
        biases=None,
        fused=None,
        layout=None,
        v_head_dim=None,
        gated=False,
        packed=None,
        linear=nn.Linear,
    ):
        """Makes the projections [hidden_size -> heads * head_dim].

        names: of the three matrices. biases: flags for q, k, v in place of `bias`; where they differ nothing is packed.
        fused: the name of one matrix that checkpoints store; it stays one on every backend. layout: how its rows lie,
        if not grouped per KV head; a packing backend then groups them (rule ReorderQKV) under `<fused>_packed`.
        gated: the rows of each query are followed by as many of its gate (see `split_gate`).
        packed: False where layers differ in their heads, so that no one rule fits them all. linear: their class.
        Raises ValueError where KV heads do not divide the query heads or groups their rows.
        """
        if num_attention_heads % num_key_value_heads:
            raise ValueError(f"{num_key_value_heads} KV heads do not divide {num_attention_heads} query heads")
        v_head_dim = v_head_dim or head_dim
        biases = tuple(map(bool, biases or (bias, bias, bias)))
        self.head_dim, self.v_head_dim = head_dim, v_head_dim
        self.num_key_value_groups = num_attention_heads // num_key_value_heads
        rows = {
            "q": num_attention_heads * head_dim * (2 if gated else 1),
            "k": num_key_value_heads * head_dim,
            "v": num_key_value_heads * v_head_dim,
        }
        self._qkv_names, self._qkv_name, self._linear = tuple(names), None, linear
        packs = self.backend.packed and packed is not False and len(set(biases)) == 1
        grouped = QKVLayout(groups=num_key_value_heads)
        if fused:
            self._setup_fused(hidden_size, rows, biases, fused, layout or grouped, packs and layout is not None)
        elif packs:
            queries = self.num_key_value_groups * (2 if gated else 1)
            rule = PackQKV("", queries, head_dim, self._qkv_names, v_head_dim=v_head_dim)
            self._lay_out("qkv_proj", grouped, rows)
            parts = dict(zip(names, rows.values(), strict=True))
            self.setup_packing("qkv_proj", rule, hidden_size, parts, biases[0], linear)
        else:
            for name, count, flag in zip(names, rows.values(), biases, strict=True):
                place(self, name, linear(hidden_size, count, bias=flag))

    def _setup_fused(self, hidden_size, rows, biases, fused, layout, packs):
        """One matrix as it is stored, or with its rows grouped per KV head; `_fused` is how it lies unpacked."""
        self._fused = fused, layout, rows
        self._lay_out(*self._fused)
        total = sum(rows.values())
        if not packs:
            place(self, fused, self._linear(hidden_size, total, bias=any(biases)))
            return
        if any(count // layout.groups % self.head_dim for count in rows.values()):
            raise UnsupportedConfigError(
                f"{layout.groups} groups of the rows of {fused} hold no whole heads of {self.head_dim}: "
                "packed projections group them by head; use a backend that packs none"
            )
        rule = ReorderQKV("", layout.parts, layout.groups, self.num_key_value_groups, self.head_dim)
        self._lay_out(packed_name(fused), QKVLayout(groups=rows["k"] // self.head_dim), rows)
        self.setup_packing(packed_name(fused), rule, hidden_size, {fused: total}, biases[0], self._linear)

    def _lay_out(self, name, layout, rows):
        layout.check(rows)
        self._qkv_name, self._qkv_parts = name, layout.parts
        self._qkv_widths = tuple(rows[part] // layout.groups for part in layout.parts)

    def unpacked(self):
        self._qkv_name = None
        if self._fused:
            self._lay_out(*self._fused)

    def compute_qkv(self, x):
        """[B, S, H] -> q [B, S, N * D] (twice as wide with gates), k [B, S, K * D], v [B, S, K * E]."""
        if self._qkv_name is None:
            return self.products(x, *self._qkv_names)
        y = self.packed_product(x) if self.packed else self.products(x, self._qkv_name)[0]
        groups = y.unflatten(-1, (-1, sum(self._qkv_widths))).split(self._qkv_widths, dim=-1)
        q, k, v = (groups[self._qkv_parts.index(part)].flatten(-2) for part in "qkv")
        return q, k, v
