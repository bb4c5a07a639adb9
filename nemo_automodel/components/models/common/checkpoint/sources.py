"""Which tensors on disk one tensor in memory is made of, and what may be wrong with them."""


class Source:
    """The names on disk of one tensor in memory, for each part of its rule by index; `rule` None: a tensor as it is."""

    def __init__(self, rule):
        self.rule = rule
        self.parts = [{} for _ in (rule.disk if rule else [None])]

    def add(self, name, part, index):
        self.parts[part].setdefault(index, []).append(name)

    @property
    def name(self):
        """The one name of a tensor that is taken as it is."""
        return self.names[0][0]

    @property
    def names(self):
        """For each part its names in the order of their indices, which is the order of experts in memory."""
        return [[part[index][0] for index in sorted(part)] for part in self.parts]

    def refuse_faults(self, memory, shape=None):
        """Raises KeyError where whole parts are missing, ValueError where one is there twice or experts do not add up.

        shape: that of the tensor in memory, whose first dimension counts experts; without it the highest index does.
        """
        if lacking := [disk for disk, part in zip(self._labels(memory), self.parts, strict=True) if not part]:
            raise KeyError(f"{memory} needs {', '.join(lacking)}, which the checkpoint lacks")
        count = max(max(part) for part in self.parts) + 1
        if self._counted and shape is not None:
            count = shape[0]
        faults = [
            f"  {label}: {fault}"
            for label, part in zip(self._labels(memory), self.parts, strict=True)
            if (fault := _fault(part, count))
        ]
        if faults:
            head = f"{memory}: the tensors on disk are not those of {count} experts" if self._counted else memory
            raise ValueError("\n".join([head, *faults]))

    @property
    def _counted(self):
        return self.rule is not None and self.rule.counted

    def _labels(self, memory):
        return self.rule.disk if self.rule else (memory,)


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
