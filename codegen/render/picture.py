"""The picture of a model as a Mermaid flowchart."""

import re

from codegen.plan.types import Drawing, Fork, Picture, Step

# Characters that mean something in Mermaid's labels or in HTML, as Mermaid writes them.
ESCAPES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"})
SHAPES = {"part": ('["', '"]'), "data": ('(["', '"])'), "sum": ('(("', '"))'), "choice": ('{"', '"}')}
RESERVED = (
    *("end", "graph", "subgraph", "flowchart", "default", "style", "class", "click", "call", "href", "direction"),
    *("linkStyle", "classDef", "interpolate"),
)


def mermaid(picture: Picture) -> str:
    """The flowchart's text, with a newline at its end."""
    chart = _Chart()
    ends = chart.stack(picture, chart.drawn(picture.input, []))
    ends = chart.forked(picture.head, chart.forked(picture.finish, ends))
    chart.link(ends, chart.node(Step(("logits",), kind="data")))
    return "\n".join(["flowchart TD", *chart.lines, *chart.arrows]) + "\n"


class _Chart:
    """Lines of a flowchart. Arrows come after all boxes: a node stands in the box in which it is first named. Nodes are
    named by what they are, so that a change elsewhere leaves their lines alone."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.arrows: list[str] = []
        self.taken = {*map(str, RESERVED)}
        self.depth = 1

    def write(self, line: str) -> None:
        self.lines.append("  " * self.depth + line)

    def name(self, wanted: str) -> str:
        """A name that no other node or box has."""
        stem = re.sub(r"[\W_]+", "_", wanted, flags=re.ASCII).strip("_") or "step"
        name, count = stem, 1
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name

    def node(self, step: Step) -> str:
        name = self.name(step.kind if step.kind in ("sum", "choice") else step.name or step.words[0])
        first, last = SHAPES[step.kind]
        self.write(f"{name}{first}{'<br/>'.join(map(_label, step.words))}{last}")
        return name

    def link(self, sources: list[str], target: str, words: str = "") -> None:
        arrow = f'-- "{_label(words)}" -->' if words else "-->"
        if sources:
            self.arrows.append(f"  {' & '.join(sources)} {arrow} {target}")

    def open(self, title: str) -> None:
        self.write(f'subgraph {self.name("layers")}["{_label(title)}"]')
        self.depth += 1

    def close(self) -> None:
        self.depth -= 1
        self.write("end")

    def drawn(self, drawing: Drawing, sources: list[str], words: str = "", starts: bool = False) -> list[str]:
        """The steps of a drawing behind these nodes; the node where it ends. `starts`: what comes in is a node, which
        it is anyhow where nothing is before it or nothing happens."""
        first, *steps = drawing
        at = [sources]
        if starts or not sources or not steps:
            at = [[self.node(first)]]
            self.link(sources, at[0][0], words)
        for step in steps:
            name = self.node(step)
            under = step.under or ("" if at[0] != sources or 0 not in step.reads else words)
            self.link([source for read in step.reads for source in at[read]], name, under)
            at.append([name])
        return at[-1]

    def forked(self, fork: Fork | Drawing, sources: list[str], words: str = "") -> list[str]:
        """Each way of a choice; the nodes where they end."""
        if not isinstance(fork, Fork):
            return self.drawn(fork, sources, words) if len(fork) > 1 or words else sources
        asked = self.node(Step((fork.condition,), kind="choice"))
        self.link(sources, asked, words)
        return [end for outcome, way in fork.ways for end in self.forked(way, [asked], outcome)]

    def stack(self, picture: Picture, sources: list[str]) -> list[str]:
        """The layers: a block, or a choice between blocks; the node where each layer ends."""
        self.open(f"{picture.depth} layers, one after another")
        ends = self.blocks(picture.layers, sources)
        if len(ends) > 1:
            end = self.node(Step(("x",), kind="data"))
            self.link(ends, end)
            ends = [end]
        self.close()
        return ends

    def blocks(self, fork: Fork | Drawing, sources: list[str], words: str = "") -> list[str]:
        """A block in each way of a choice."""
        if not isinstance(fork, Fork):
            return self.drawn(fork, sources, words, starts=True)
        asked, found = self.node(Step((fork.condition,), kind="choice")), list[str]()
        self.link(sources, asked, words)
        for outcome, way in fork.ways:
            if isinstance(way, Fork):
                found += self.blocks(way, [asked], outcome)
            else:
                self.open(f"{fork.condition}: {outcome}")
                found += self.blocks(way, [asked], outcome)
                self.close()
        return found


def _label(text: str) -> str:
    return " ".join(text.split()).translate(ESCAPES)
