"""Between the names and layouts of a checkpoint and those of a model in memory."""

import re

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.checkpoint.rules import Rename


class StateDictAdapter:
    """Runs a model's rules in both directions, on whole state dicts and on single tensors."""

    def __init__(self, config, backend=None, tied=()):
        packed = BackendConfig.of(backend).packed
        rules = (rule.for_backend(packed) for rule in self.rules(config))
        active = [rule for rule in rules if rule is not None]
        self.renames = tuple(rule for rule in active if isinstance(rule, Rename))
        self.conversions = tuple(rule for rule in active if not isinstance(rule, Rename))
        self.tied = frozenset(tied)

    @property
    def active(self):
        """The rules that this backend needs, in the order in which they act on the way in."""
        return (*self.renames, *self.conversions)

    def rules(self, config):
        """The table; most models need none."""
        return ()

    def to_hf(self, state_dict):
        """Names and layouts of memory -> those of disk; tied tensors are left out, as on disk."""
        out = {}
        for name, tensor in state_dict.items():
            if name not in self.tied:
                out.update(self.convert_single_tensor_to_hf(name, tensor))
        return out

    def convert_single_tensor_to_hf(self, name, tensor):
        """[(disk name, tensor)] of one tensor in memory, or of a shard of its rows."""
        for rule in self.conversions:
            if match := re.fullmatch(_pattern(rule.memory), name):
                head, tail = match.groups()
                return [
                    (self._disk_name(head + disk.replace("*", str(i)) + tail), value.contiguous())
                    for disk, values in zip(rule.disk, rule.save(tensor), strict=True)
                    for i, value in enumerate(values)
                ]
        return [(self._disk_name(name), tensor)]

    def from_hf(self, state_dict, memory_shapes=None):
        """Names and layouts of disk -> those of memory; names of memory pass through. Raises KeyError for a lone part.

        Rules that keep a name cannot tell by it: given the model's shapes {name: shape}, they pass a state dict through
        whose tensors have them already.
        """
        out, groups = {}, {}
        state_dict = {self._memory_name(name): tensor for name, tensor in state_dict.items()}
        converted = memory_shapes and self._has_memory_layout(state_dict, memory_shapes)
        for name, tensor in state_dict.items():
            place = self._place(name)
            if place and converted and place[0].keeps_name:
                place = None
            if place is None:
                out[name] = tensor
            else:
                rule, memory, part, index = place
                groups.setdefault(memory, (rule, [{} for _ in rule.disk]))[1][part][index] = tensor
        for memory, (rule, parts) in groups.items():
            missing = [disk for disk, found in zip(rule.disk, parts, strict=True) if not found]
            if missing:
                raise KeyError(f"{memory} needs {', '.join(missing)}, which the checkpoint lacks")
            out[memory] = rule.load([[found[i] for i in sorted(found)] for found in parts])
        return out

    def _memory_name(self, name):
        for rename in self.renames:
            name = rename.to_memory(name)
        return name

    def _disk_name(self, name):
        for rename in reversed(self.renames):
            name = rename.to_disk(name)
        return name

    def _has_memory_layout(self, state_dict, memory_shapes):
        """Whether the oblong tensors of rules that keep a name have memory's shapes."""
        placed = ((name, tensor, self._place(name)) for name, tensor in state_dict.items())
        return any(
            tensor.shape == memory_shapes[name] and tensor.dim() == 2 and tensor.shape[0] != tensor.shape[1]
            for name, tensor, place in placed
            if place and place[0].keeps_name and name in memory_shapes
        )

    def _place(self, name):
        """The rule that uses a disk tensor, the tensor in memory that it becomes part of, which part, and its index."""
        for rule in self.conversions:
            for part, disk in enumerate(rule.disk):
                if match := re.fullmatch(_pattern(disk), name):
                    head, *index, tail = match.groups()
                    return rule, head + rule.memory + tail, part, int(index[0]) if index else 0
        return None


def _pattern(name):
    """A whole dotted name before `.weight`, `.bias` or nothing; `*` counts."""
    return r"((?:.*\.)?)" + re.escape(name).replace(r"\*", r"(\d+)") + r"(|\.weight|\.bias)"
