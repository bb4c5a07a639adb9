"""Checkpoints of vision-language models: a text model, a tower, a projector and a head under prefixes of their own."""

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.rules import Prefix, ReadPrefix, Rename

# Towers whose published names may have `vision_model.` in front; transformers reads both, and writes it no more.
WITH_FRONT = ("clip_vision_model", "siglip_vision_model", "siglip2_vision_model")


class ImageTextStateDictAdapter(StateDictAdapter):
    """Prefixes first; then the text model's own rules, below its path alone: a tower has a `self_attn.q_proj` too.

    text_adapter: of the text model, which lies at `text_path` in memory. names: where parts begin on disk -> in memory.
    tower_names: pieces of names on disk -> in memory, below `tower_path`.
    """

    text_adapter = StateDictAdapter
    text_path = "model.language_model"
    tower_path = "model.vision_tower"
    names = {}
    tower_names = {}

    def __init__(self, config, backend=None, tied=()):
        super().__init__(config, backend, tied)
        text = self.text_adapter(config.get_text_config(), backend)
        self.renames = (*self.renames, *(rule.below(self.text_path) for rule in text.renames))
        self.conversions = (*self.conversions, *(rule.below(self.text_path) for rule in text.conversions))

    def rules(self, config):
        """What is neither the text model's nor its prefix'."""
        places = (*self.names, *self.names.values())
        prefixes = (Prefix(disk, memory, places) for disk, memory in self.names.items() if disk != memory)
        has_front = config.vision_config.model_type in WITH_FRONT
        front = (ReadPrefix(f"{self.tower_path}.vision_model", self.tower_path),) if has_front else ()
        pieces = (Rename(disk, memory).below(self.tower_path) for disk, memory in in_turn(self.tower_names))
        return (*prefixes, *front, *pieces)


def in_turn(names):
    """Pairs (disk, memory) in an order in which none renames what another one made.

    Raises ValueError where there is none: names that change places.
    """
    left, found = dict(names), []
    while left:
        free = [disk for disk, memory in left.items() if memory not in left or memory == disk]
        if not free:
            raise ValueError(f"names that change places: {', '.join(left)}")
        found += [(disk, left.pop(disk)) for disk in free]
    return found
