"""Which tensors on disk one tensor in memory is made of, and what may be wrong with them."""

import torch


class Source:
    """The names on disk of one tensor in memory, for each part of its rule by index; `rule` None: a tensor as it is.

    labels: what each part is called on disk, whole names with `*` for what is counted.
    """

    def __init__(self, rule, labels):
        self.rule, self.labels = rule, labels
        self.parts = [{} for _ in labels]

    def add(self, name, part, index):
        self.parts[part].setdefault(index, []).append(name)

    @property
    def is_one(self):
        """Whether it is one tensor, taken as it is."""
        return self.rule is None and list(map(len, self.parts[0].values())) == [1]

    @property
    def name(self):
        """The one name of a tensor that is taken as it is."""
        return self.names[0][0]

    @property
    def names(self):
        """For each part its names in the order of their indices, which is the order of experts in memory."""
        return [[part[index][0] for index in sorted(part)] for part in self.parts]

    def lacking(self):
        """The labels of parts of which there is nothing."""
        return [label for label, part in zip(self.labels, self.parts, strict=True) if not part]

    def faults(self, shape=None):
        """What is wrong with the parts, a line each: some are missing, there twice, or too many.

        shape: that of the tensor in memory, whose first dimension counts experts; without it the highest index does.
        """
        count = max(max(part, default=0) for part in self.parts) + 1
        if self._counted and shape is not None:
            count = shape[0]
        head = f"not those of {count} experts: " if self._counted else ""
        pairs = zip(self.labels, self.parts, strict=True)
        return [f"{label}: {head}{fault}" for label, part in pairs if (fault := _fault(part, count))]

    def refuse_faults(self, shape=None):
        """Raises KeyError where whole parts are missing, ValueError for `faults`."""
        if lacking := self.lacking():
            raise KeyError(f"{', '.join(lacking)}: missing, beside its like")
        if faults := self.faults(shape):
            raise ValueError("\n".join(["tensors on disk do not add up", *(f"  {fault}" for fault in faults)]))

    def unlike(self, tensors):
        """A line for each part whose tensors, of which memory stacks them, differ in shape."""
        shapes = [{tuple(tensors[name].shape) for name in part} for part in self.names]
        pairs = zip(self.labels, shapes, strict=True)
        return [
            f"{label} is of {', '.join(map(str, sorted(of)))}, which do not stack" for label, of in pairs if len(of) > 1
        ]

    def shape(self, tensors):
        """The shape of the tensor in memory that these make, or None where they do not fit together."""
        firsts = [[torch.empty(tensors[part[0]].shape, device="meta")] for part in self.names]
        if self.rule is None:
            return firsts[0][0].shape
        try:
            made = self.rule.load(firsts).shape
        except (RuntimeError, IndexError):
            return None
        return torch.Size([len(self.names[0]), *made[1:]]) if self._counted else made

    def whole_shape(self, rows):
        """The shape of the tensor on disk of which a tensor in memory has these rows."""
        shares = self.rule.count if self.rule is not None and self.rule.is_shared else 1
        return torch.Size([shares * rows[0], *rows[1:]]) if shares > 1 else rows

    @property
    def _counted(self):
        return self.rule is not None and self.rule.counted


def _fault(part, count):
    """What is wrong with a part {index: names} of `count` tensors, or nothing."""
    twice = sorted({name for names in part.values() if len(names) > 1 for name in names})
    lists = {
        "missing": ranges(sorted(set(range(count)) - set(part))),
        "surplus": ranges(sorted(index for index in part if index >= count)),
        "more than once": ", ".join(twice),
    }
    return "; ".join(f"{word} {items}" for word, items in lists.items() if items)


def ranges(numbers):
    """Ascending numbers as text: [0, 1, 2, 5] -> "0-2, 5"."""
    runs = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
