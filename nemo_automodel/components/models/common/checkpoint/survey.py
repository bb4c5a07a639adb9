"""What a checkpoint holds beside what a model needs: told in the names of the disk, before memory is taken for it."""

import re
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

DERIVED = re.compile(r"rotary_emb\.inv_freq$")  # a table of angles, which old checkpoints hold for each layer
QUANTISED = re.compile(r"\.(weight_packed|weight_shape|weight_scale\w*|qweight|qzeros|scales|absmax|quant_map|SCB)$")
LISTED = 4  # names of a line; more are counted
LINES = 24  # of a kind; to look for the nearest of thousands of names would take minutes
NEAREST = 2000  # names among which the nearest is looked for

_strict = ContextVar("strict", default=False)


@contextmanager
def strictly():
    """Within, a tensor that is missing, that nothing uses or that has another shape is an error of loading."""
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


class Survey:
    """The lists of one checkpoint and model; `left_out` {reason: names} is right, all else are faults."""

    def __init__(self, model, adapter, half, tensors):
        self.model, self.adapter, self.half, self.tensors = model, adapter, half, tensors
        self.needed = {
            name: t if t.is_meta else torch.empty(t.shape, dtype=t.dtype, device="meta")
            for name, t in model.state_dict().items()
        }
        self.left_out, self.unused, self.faults = dict(half.left_out), set(), []
        self.missing, self.unexpected, self.misshapen = [], [], []
        self.sources = {}
        for memory, source in adapter.sources(tensors).items():
            name = name_in_model(memory, model.base_model_prefix, self.needed)
            if name is None:
                self._set_aside(memory, source)
            else:
                self.sources[name] = source
                self._compare(name, memory, source)
        self._find_missing()
        # several tensors in memory may be rows of one
        self.unexpected, self.misshapen = [*dict.fromkeys(self.unexpected)], [*dict.fromkeys(self.misshapen)]

    def report(self, place, ignore_shapes):
        """Says what is left out. Raises ValueError for faults; RuntimeError, as transformers, where a shape differs."""
        say_left_out(self.model, place, self.left_out)
        if self.faults:
            raise ValueError("\n".join([f"{place}: tensors that the model cannot be made of", *self.faults]))
        misshapen = [] if ignore_shapes else self._misshapen_lines()
        if _strict.get():
            lines = [*self._missing_lines(), *self._unexpected_lines(), *misshapen]
            if lines:
                raise ValueError("\n".join([f"{place}: these tensors would be lost", *lines, self._cure()]))
        elif misshapen:
            raise RuntimeError("\n".join([f"{place}: these tensors have another shape", *misshapen, self._cure()]))

    def _set_aside(self, memory, source):
        names = [name for part in source.names for name in part]
        reason = why_unused(self.model, memory)
        if reason:
            self.unused.update(names)
            self.left_out.setdefault(reason, []).extend(map(self.half.on_disk, names))
        elif getattr(self.model, "_pp_stage", None) is None and not is_ignored(self.model, memory):
            self.unexpected += names

    def _compare(self, name, memory, source):
        if source.is_one and _fits(self.tensors[source.name], self.needed[name]):
            return  # most are so, and there are thousands
        lacking = source.lacking()
        if lacking:
            self.faults += [f"  {self.half.on_disk(label)}: missing, beside its like" for label in lacking]
            return
        needed = self.needed[name]
        self.faults += [f"  {line}" for line in source.faults(needed.shape)]
        stored = {one: self.tensors[one] for part in source.names for one in part}
        if needed.is_floating_point():
            self.faults += [self._dtype_line(one, t) for one, t in stored.items() if not t.dtype.is_floating_point]
        unlike = source.unlike(self.tensors)
        self.faults += [f"  {line}" for line in unlike]
        if not unlike and source.shape(self.tensors) != needed.shape:
            stored_rows = self.adapter.convert_single_tensor_to_hf(memory, needed)
            wanted = {one: source.whole_shape(rows.shape) for one, rows in stored_rows}
            firsts = [part[0] for part in source.names]  # experts are alike
            shapes = {one: (stored[one].shape, wanted.get(one, needed.shape)) for one in firsts}
            self.misshapen += [(one, *pair) for one, pair in shapes.items() if pair[0] != pair[1]]

    def _find_missing(self):
        tied = self.model.all_tied_weights_keys
        made = self.sources.keys() | {a for a, b in tied.items() if b in self.sources}
        made |= {b for a, b in tied.items() if a in self.sources}
        patterns = self.model._keys_to_ignore_on_load_missing or ()
        for name in self.needed:
            if name not in made and not any(re.search(pattern, name) for pattern in patterns):
                stored = self.adapter.convert_single_tensor_to_hf(name, self.needed[name])
                lacking = [self.half.on_disk(one) for one, _ in stored]
                self.missing += [] if lacking in self.missing[-LINES:] else [lacking]

    def _dtype_line(self, name, tensor):
        return (
            f"  {self.half.on_disk(name)}: is {tensor.dtype} where the model has floats{self._file(name)}; if the"
            " checkpoint is quantised, its config.json has to say so in quantization_config"
        )

    def _missing_lines(self):
        found = [self.half.on_disk(name) for name in self.unexpected]
        lines = [f"  {_few(names)}: the checkpoint has none{near(names[0], found)}" for names in self.missing[:LINES]]
        return lines + _rest(self.missing, "that it has not")

    def _unexpected_lines(self):
        missing = [names[0] for names in self.missing]
        names = {one: self.half.on_disk(one) for one in self.unexpected[:LINES]}
        lines = [
            f"  {name}: nothing in the model uses it{self._file(one)}{near(name, missing)}"
            for one, name in names.items()
        ]
        return lines + _rest(self.unexpected, "that nothing uses")

    def _misshapen_lines(self):
        return [
            f"  {self.half.on_disk(name)}: on disk {tuple(disk)}, in the model {tuple(wanted)}{self._file(name)}"
            for name, disk, wanted in self.misshapen[:LINES]
        ] + _rest(self.misshapen, "of another shape")

    def _cure(self):
        if any(QUANTISED.search(name) for name in self.unexpected):
            return "it looks quantised: its config.json lacks the quantization_config that says how; take it over"
        if self.misshapen and not (self.missing or self.unexpected):
            return "the sizes in config.json are of another checkpoint: take the config.json that belongs to it"
        return "take the config.json and the files that belong together, or mend the names"

    def _file(self, name):
        """Where a tensor stands, as far as it is known."""
        tensor = self.tensors[name]
        file = getattr(getattr(tensor, "values", tensor), "file", None)
        return f" (in {file.path})" if file else ""


def _fits(stored, needed):
    """Whether a tensor on disk can be one in memory as it is."""
    return stored.shape == needed.shape and (stored.dtype.is_floating_point or not needed.is_floating_point())


def name_in_model(memory, prefix, names):
    """A base model loads from the checkpoint of one with a head, and the reverse."""
    for name in (memory, f"{prefix}.{memory}", memory.removeprefix(f"{prefix}.")):
        if name in names:
            return name
    return None


def why_unused(model, name):
    """Why a tensor of this name in memory is left out of every model, or nothing."""
    layers = getattr(model.base_model, "_layers_name", "layers")
    match = re.match(rf"(?:{re.escape(model.base_model_prefix)}\.)?{re.escape(layers)}\.(\d+)\.", name)
    if match and int(match[1]) >= (count := model.config.get_text_config().num_hidden_layers):
        return f"layers from num_hidden_layers = {count} on, such as next-token prediction"
    return "tables of angles, which are computed" if DERIVED.search(name) else None


def is_ignored(model, name):
    """Whether the model's class says that checkpoints may hold it."""
    return any(re.search(pattern, name) for pattern in model._keys_to_ignore_on_load_unexpected or ())


def say_left_out(model, place, left_out):
    """Logs {reason: names on disk}, and remembers the names for the loading info."""
    for reason, names in left_out.items():
        model._left_out = (*model._left_out, *names)
        logger.warning(f"{place}: left out: {reason}: {_few(names)}")


def near(name, names):
    return "".join(f"; the nearest is {match}" for match in get_close_matches(name, names[:NEAREST], 1))


def _rest(names, what):
    return [f"  and {len(names) - LINES} more {what}"] if len(names) > LINES else []


def _few(names):
    shown = ", ".join(names[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if len(names) > LISTED else shown
