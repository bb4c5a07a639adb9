"""Between the names and layouts of a checkpoint and those of a model in memory."""

import re
from copy import copy
from functools import lru_cache

import torch

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.checkpoint.codecs import as_plain
from nemo_automodel.components.models.common.checkpoint.rules import Renaming
from nemo_automodel.components.models.common.checkpoint.sources import Source


class StateDictAdapter:
    """Runs a model's rules in both directions, on whole state dicts and on single tensors."""

    def __init__(self, config, backend=None, tied=()):
        packed = BackendConfig.of(backend).packed
        table = [rule for entry in self.rules(config) for rule in entry.expanded()]
        active = [rule for one in table if (rule := one.for_backend(packed)) is not None]
        self.renames = tuple(rule for rule in active if isinstance(rule, Renaming))
        self.conversions = tuple(rule for rule in active if not isinstance(rule, Renaming))
        self.turnable = tuple(rule for rule in table if rule.turned() is not None)
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
        out, shared = {}, {}
        for name, tensor in state_dict.items():
            if name not in self.tied:
                rule, stored = self._stored(name, tensor)
                if rule is not None and rule.is_shared:
                    shared.setdefault(stored[0][0], {})[rule.index] = stored[0][1]
                else:
                    out.update(stored)
        return out | {name: torch.cat([blocks[i] for i in sorted(blocks)]) for name, blocks in shared.items()}

    def convert_single_tensor_to_hf(self, name, tensor):
        """[(disk name, tensor)] of one tensor in memory, or of a shard of its rows.

        Of one that shares a tensor on disk with others these are its rows alone; `to_hf` joins them.
        """
        return self._stored(name, tensor)[1]

    def _stored(self, name, tensor):
        """The rule of a name in memory, or None, and [(disk name, tensor)]."""
        for rule in self.conversions:
            if match := _pattern(rule.memory, rule.scope).fullmatch(name):
                head, tail = match.groups()
                return rule, [
                    (self._disk_name(head + disk.replace("*", str(i)) + tail), value.contiguous())
                    for disk, values in zip(rule.disk, rule.save(tensor), strict=True)
                    for i, value in enumerate(values)
                ]
        return None, [(self._disk_name(name), tensor)]

    def reading(self, tensors, memory):
        """The adapter for these tensors on the way in: itself, or one with the rules that names and shapes ask for.

        tensors: {name: of a shape}. memory: {name: shape} of the model's tensors.
        """
        if not self._are_turned(tensors, memory):
            return self
        other = copy(self)
        other.conversions, other.turnable = (*(rule.turned() for rule in self.turnable), *self.conversions), ()
        return other

    def _are_turned(self, tensors, memory):
        """Whether matrices that lie as in memory by the rules do so the other way round, of which square ones tell
        nothing; where some do and some do not, no adapter reads them all."""
        stored = {self._memory_name(name): tensor.shape for name, tensor in tensors.items()} if self.turnable else {}
        told = [_tells_turned(_shapes(rule, stored), _shapes(rule, memory)) for rule in self.turnable]
        return True in told and False not in told

    def from_hf(self, state_dict, memory_shapes=None):
        """Names and layouts of disk -> those of memory; names of memory pass through. Quantised tensors are decoded.

        Rules that keep a name cannot tell by it: given the model's shapes {name: shape}, they pass a state dict through
        whose tensors have them already. Raises KeyError for a lone part; ValueError, listing them, for experts that are
        missing, there twice or (by the shapes) too many, and for rules that keep a name where no shape tells the side.
        """
        shapes, state_dict = memory_shapes or {}, as_plain(state_dict)
        if shapes and (other := self.reading(state_dict, shapes)) is not self:
            return other.from_hf(state_dict, shapes)
        passing = shapes and self._has_memory_layout(state_dict, shapes)
        out = {}
        for memory, source in self.sources(state_dict).items():
            source.refuse_faults(shapes.get(memory))
            if source.rule is None or (passing and source.rule.keeps_name):
                out[memory] = state_dict[source.name]
            else:
                out[memory] = source.rule.load([[state_dict[name] for name in part] for part in source.names])
        return out

    def sources(self, names):
        """{name in memory: Source}: which of these tensors on disk make which in memory, in their order."""
        found = {}
        for name in names:
            for rule, memory, part, index in self._places(self._memory_name(name)):
                source = found.get(memory)
                if source is None:
                    source = found[memory] = Source(rule, self._labels(rule, memory) if rule else (name,))
                if source.rule is not rule:
                    raise ValueError(f"{name} is there twice, as it is in memory and as it is on disk")
                source.add(name, part, index)
        return found

    def _labels(self, rule, memory):
        """What a tensor in memory is made of by a rule, as it is called on disk."""
        head, tail = _pattern(rule.memory, rule.scope).fullmatch(memory).groups()
        return tuple(self._disk_name(head + disk + tail) for disk in rule.disk)

    def _memory_name(self, name):
        for rename in self.renames:
            name = rename.to_memory(name)
        return name

    def _disk_name(self, name):
        for rename in reversed(self.renames):
            name = rename.to_disk(name)
        return name

    def _has_memory_layout(self, state_dict, memory_shapes):
        """Whether the oblong tensors of rules that keep a name and turn it have memory's shapes."""
        names = {self._memory_name(name): name for name in state_dict}
        kept = {name: rule for name in names for rule, *_ in self._places(name) if rule and rule.keeps_name}
        seen = {name: state_dict[names[name]].shape for name in kept if name in memory_shapes}
        oblong = [name for name, shape in seen.items() if kept[name].turns and len({*shape[-2:]}) == 2]
        if undecided := [n for n in seen if not kept[n].turns and not oblong and names[n] == n]:
            raise ValueError(
                f"{undecided[0]}: names and shapes do not tell disk from memory, where its rows are reordered"
            )
        return any(seen[name] == memory_shapes[name] for name in oblong)

    def _places(self, name):
        """Of each rule that uses a disk tensor (none: None): itself, the tensor in memory that it becomes part of,
        which part, and its index. Rules that share the tensor are several, others the first that fits."""
        found = []
        for rule in self.conversions:
            if found and not rule.is_shared:
                continue
            for part, disk in enumerate(rule.disk):
                if match := _pattern(disk, rule.scope).fullmatch(name):
                    head, *index, tail = match.groups()
                    found.append((rule, head + rule.memory + tail, part, int(index[0]) if index else 0))
                    break
            if found and not found[0][0].is_shared:
                break
        return found or [(None, name, 0, 0)]


def _shapes(rule, named):
    """The shapes of a rule's tensors in memory, of {name in memory: shape}."""
    pattern = _pattern(rule.memory, rule.scope)
    return {tuple(shape) for name, shape in named.items() if pattern.fullmatch(name)}


def _tells_turned(stored, memory):
    """Whether stored shapes are those of memory with the last two changed (False: the same); None: they do not tell."""
    oblong = {shape for shape in memory if shape[-1] != shape[-2]}
    if stored & oblong:
        return False
    return True if stored & {(*shape[:-2], shape[-1], shape[-2]) for shape in oblong} else None


@lru_cache(maxsize=1024)
def _pattern(name, scope=""):
    """A whole dotted name within a scope, before `.weight`, `.bias` or nothing; `*` counts."""
    return re.compile(rf"({scope}(?:.*\.)?)" + re.escape(name).replace(r"\*", r"(\d+)") + r"(|\.weight|\.bias)")
