"""Checkpoints of vision-language models: a text model, a tower, a projector and a head under prefixes of their own."""

import re
from copy import copy

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.pieces import Pieces
from nemo_automodel.components.models.common.checkpoint.rules import Prefix, ReadPrefix
from nemo_automodel.components.models.common.checkpoint.shared_rows import RowsOf

# Towers whose published names may have `vision_model.` in front; transformers reads both, and writes it no more.
WITH_FRONT = ("clip_vision_model", "siglip_vision_model", "siglip2_vision_model")


class ImageTextStateDictAdapter(StateDictAdapter):
    """Prefixes first; then the text model's own rules, below its path alone: a tower has a `self_attn.q_proj` too.

    text_adapter: of the text model, which lies at `text_path` in memory. names: where parts begin on disk -> in memory.
    Below `tower_path`, tower_names: pieces of names on disk -> in memory; tower_fused: a tensor on disk -> the tensors
    in memory that its rows are, a block each; tower_pairs: tensors in memory whose rows lie as rotary pairs on disk,
    in heads of `tower_head_size` rows.
    """

    text_adapter = StateDictAdapter
    text_path = "model.language_model"
    tower_path = "model.vision_tower"
    names = {}
    tower_names = {}
    tower_fused = {}
    tower_pairs = ()

    def __init__(self, config, backend=None, tied=()):
        super().__init__(config, backend, tied)
        text = self.text_adapter(config.get_text_config(), backend)
        self.renames = (*self.renames, *(rule.below(self.text_path) for rule in text.renames))
        self.conversions = (*self.conversions, *(rule.below(self.text_path) for rule in text.conversions))
        self.turnable = tuple(rule.below(self.text_path) for rule in text.turnable)

    def rules(self, config):
        """What is neither the text model's nor its prefix'."""
        places = (*self.names, *self.names.values())
        prefixes = (Prefix(disk, memory, places) for disk, memory in self.names.items() if disk != memory)
        has_front = config.vision_config.model_type in WITH_FRONT
        front = (ReadPrefix(f"{self.tower_path}.vision_model", self.tower_path),) if has_front else ()
        own = {**self.tower_names, **{name: name for name in self.tower_fused}} if self.tower_names else {}
        pieces = (Pieces(tuple(own.items())),) if own else ()
        return (*prefixes, *front, *(rule.below(self.tower_path) for rule in (*pieces, *self._tower_rows(config))))

    def _tower_rows(self, config):
        """Rules for what the tower has in other matrices, or in another order, than the disk."""
        size = self.tower_head_size(config) if self.tower_pairs else 0
        sizes = {name: size if name in self.tower_pairs else 0 for names in self.tower_fused.values() for name in names}
        for disk, names in self.tower_fused.items():
            for index, name in enumerate(names):
                yield RowsOf(disk, name, index, len(names), sizes[name])
        for name in self.tower_pairs:
            if name not in sizes:
                yield RowsOf(name, name, head_dim=size)

    def tower_head_size(self, config):
        """Rows of a head of the tower's queries and keys."""
        return config.vision_config.hidden_size // config.vision_config.num_attention_heads

    def reading(self, tensors, memory):
        """Without the rules of the tower's pieces where all its names are those in memory: `norm1` may be one's there
        and another's on disk."""
        adapter = super().reading(tensors, memory)
        pieces = next((rule for rule in self.renames if isinstance(rule, Pieces)), None)
        own = [name for name in tensors if pieces and re.match(pieces.scope, self._placed(name))]
        if not own or not all(name in memory or f"model.{name}" in memory for name in own):
            return adapter
        other = copy(adapter)
        other.renames = tuple(rule for rule in adapter.renames if rule is not pieces)
        return other

    def _placed(self, name):
        """A name with the prefix that it has in memory."""
        for rule in self.renames:
            name = rule.to_memory(name) if isinstance(rule, Prefix) else name
        return name
