"""Models of transformers' causal mapping that no spec of the tree generates, and the value of the language that lacks.

The models are those of the committed table of config classes; what lacks is written down in `codegen/lacking.yaml`.
"""

from collections.abc import Iterable
from pathlib import Path

import yaml

from codegen.configs import table
from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.generate import read_any
from codegen.run.inventory import Row

LACKING = Path(__file__).parents[1] / "lacking.yaml"
UNKNOWN = "nothing known: a spec is to be written"


class Missing(Frozen):
    """One model type. `lacks`: what a spec could not say, or where its spec stands."""

    model_type: str
    architecture: str
    lacks: str


def missing(rows: Iterable[Row], root: Path) -> list[Missing]:
    """One entry for each model type without a generated model, in order."""
    have = {_model_type(root, row.spec) for row in rows if row.state != "invalid"}
    lacking = lacking_values()
    return [
        Missing(model_type, architecture, lacking.get(model_type, UNKNOWN))
        for model_type, architecture in causal_types()
        if model_type not in have
    ]


def causal_types() -> list[tuple[str, str]]:
    """(model type, architecture) of each entry of the causal mapping, in order."""
    known = [config for name in table() if (config := table().get(name)) is not None and config.architectures]
    return sorted((config.model_type, config.architectures[0]) for config in known)


def lacking_values() -> dict[str, str]:
    """Model type -> what of the language is lacking for it."""
    return yaml.safe_load(LACKING.read_text(encoding="utf-8"))


def text(listed: Iterable[Missing]) -> str:
    """Aligned lines."""
    cells = [(one.model_type, one.architecture, one.lacks) for one in listed]
    widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(2)]
    return "".join(f"{kind:{widths[0]}}  {architecture:{widths[1]}}  {lacks}\n" for kind, architecture, lacks in cells)


def _model_type(root: Path, spec: str) -> str | None:
    try:
        return read_any(root / spec, root).config.model_type
    except SpecError:
        return None
