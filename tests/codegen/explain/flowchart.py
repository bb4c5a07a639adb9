"""Reads the part of Mermaid's flowcharts that pictures are written in, and nothing else of it: strictly."""

import re
from dataclasses import dataclass, field

LABEL = r'"((?:[^"<>#&`]|#(?:35|96|quot|lt|gt|amp);|<br/>)*)"'
SHAPES = {
    "part": rf"\[{LABEL}\]",
    "data": rf"\(\[{LABEL}\]\)",
    "sum": rf"\(\({LABEL}\)\)",
    "choice": rf"\{{{LABEL}\}}",
}
NODES = {kind: re.compile(rf"(\w+){shape}", re.ASCII) for kind, shape in SHAPES.items()}
BOX = re.compile(rf"subgraph (\w+)\[{LABEL}\]", re.ASCII)
ARROW = re.compile(rf"(\w+(?: & \w+)*) (?:-- {LABEL} )?--> (\w+)", re.ASCII)
RESERVED = {"end", "graph", "subgraph", "flowchart", "default", "style", "class", "click", "call", "href", "direction"}
RESERVED |= {"linkStyle", "classDef", "interpolate"}
ENTITIES = {"#quot;": '"', "#lt;": "<", "#gt;": ">", "#amp;": "&", "#96;": "`", "#35;": "#"}


@dataclass
class Chart:
    """`nodes`: name -> its kind, its words, and the titles of the boxes that it stands in."""

    nodes: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)

    def named(self, first: str, box: str = "") -> str:
        """The one node whose first words these are, in the innermost box of that title."""
        (found,) = [
            name for name, (_, words, boxes) in self.nodes.items() if words[0] == first and box in ("", *boxes[-1:])
        ]
        return found

    def before(self, node: str) -> set[str]:
        """What the nodes say first that lead there."""
        return {self.nodes[source][1][0] for source, target, _ in self.arrows if target == node}

    def behind(self, node: str) -> dict[str, str]:
        """What the nodes say first to which it leads -> the words at the arrow."""
        return {self.nodes[target][1][0]: words for source, target, words in self.arrows if source == node}


def read(text: str) -> Chart:
    """The flowchart. AssertionError names the line that is none."""
    first, *lines = text.splitlines()
    assert first == "flowchart TD" and text.endswith("\n")
    chart, boxes, known = Chart(), [], set()
    for line in lines:
        body = line.strip()
        assert line == "  " * (1 + len(boxes) - (body == "end")) + body, line
        if match := BOX.fullmatch(body):
            assert match[1] not in known | RESERVED, line
            known.add(match[1])
            boxes.append(plain(match[2]))
        elif body == "end":
            assert boxes.pop() is not None
        elif match := ARROW.fullmatch(body):
            sources, words, target = match.groups()
            for source in sources.split(" & "):
                assert source in chart.nodes and target in chart.nodes, line
                chart.arrows.append((source, target, plain(words or "")))
        else:
            kind, match = next(((k, m) for k, shape in NODES.items() if (m := shape.fullmatch(body))), ("", None))
            assert match and match[1] not in known | RESERVED and not chart.arrows, line
            known.add(match[1])
            chart.nodes[match[1]] = kind, tuple(map(plain, match[2].split("<br/>"))), tuple(boxes)
    assert not boxes
    return chart


def plain(label: str) -> str:
    for entity, character in ENTITIES.items():
        label = label.replace(entity, character)
    return label


def loose_ends(chart: Chart) -> list[str]:
    """Nodes that nothing leads to, or that lead nowhere, and are neither what comes in nor what goes out."""
    sources, targets = ({arrow[end] for arrow in chart.arrows} for end in (0, 1))
    found = []
    for name, (kind, words, _) in chart.nodes.items():
        starts, ends = kind == "data" and name not in targets, words == ("logits",)
        found += [name] if (name not in targets and not starts) or (name not in sources and not ends) else []
    return found
