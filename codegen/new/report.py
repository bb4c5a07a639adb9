"""What `codegen new` tells."""

from codegen.frozen import Frozen


class Draft(Frozen):
    """A drafted spec and what it rests on.

    Attributes:
        spec: where it stands, or would.
        written: whether it was written there.
        kind: dense, moe or vlm.
        seen: what told the kind, and what was read.
        nearest: path of the nearest existing spec; `alike` from 0 to 1; `runners_up` are the next ones.
        equals: specs that are as near as that one: nothing that was published tells them apart.
        differences: how the checkpoint differs from it.
        uncertain: the choices that are marked in the text.
        taken_out: keys of the nearest spec that do not suit this config.
        unexplained: tensors that the draft does not expect; `missing` those that it expects in vain.
        unread: config fields that the draft does not read.
        problems: what is wrong with the draft as it stands.
        files: what `codegen apply` will write or edit; `tests` are those that prove it.
        lacking: what has no template yet.
        parts: of a model of images and text, a line for each part.
    """

    name: str
    spec: str
    written: bool
    text: str
    source: str
    kind: str
    seen: tuple[str, ...]
    nearest: str
    alike: float
    equals: tuple[str, ...]
    runners_up: tuple[str, ...]
    differences: tuple[str, ...]
    uncertain: tuple[str, ...]
    taken_out: tuple[str, ...]
    unexplained: tuple[str, ...]
    missing: tuple[str, ...]
    unread: tuple[str, ...]
    problems: tuple[str, ...]
    files: tuple[str, ...]
    tests: tuple[str, ...]
    lacking: tuple[str, ...]
    notes: tuple[str, ...]
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(line for title, lines in self._sections() if lines for line in _section(title, lines))

    def _sections(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (f"Seen in {self.source}: {self.kind}", (*self.seen, *self.notes)),
            ("What it is made of", self.parts),
            (f"Nearest: {self.nearest} ({self.alike:.2f}), then {', '.join(self.runners_up) or 'none'}", ("",)),
            ("Nothing published tells it from these, which say more", self.equals),
            ("How it differs", self.differences),
            ("Not taken over", self.taken_out),
            ("Tensors that the draft does not expect", self.unexplained),
            ("Tensors that it expects in vain", self.missing),
            ("Config fields that it does not read", (", ".join(self.unread),) if self.unread else ()),
            ("Uncertain, and marked in the draft", self.uncertain),
            ("Wrong as it stands", self.problems),
            ("No template yet for", self.lacking),
            ("`codegen apply` will write", self.files),
            ("Tests that will prove it", self.tests),
            (f"{'Wrote' if self.written else 'Not written'}: {self.spec}", ("",)),
        ]


def _section(title: str, lines: tuple[str, ...]) -> list[str]:
    return [title, *(f"  {line}" for line in lines if line)]
