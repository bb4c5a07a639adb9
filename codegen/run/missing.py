"""Models of transformers' causal and image-text mappings that no spec of the tree generates, and what they lack.

The models are those of the committed tables of config classes; what lacks is written down in `codegen/lacking.yaml`,
or, of images and text, is a text that no spec generates.
"""

from collections.abc import Container, Iterable
from pathlib import Path

import yaml

from codegen.configs import table, vision_table
from codegen.frozen import Frozen
from codegen.generate import read_any
from codegen.lent import all_specs, is_lent
from codegen.places import places
from codegen.run.inventory import Row

LACKING = Path(__file__).parents[1] / "lacking.yaml"
GENERATES = "ForConditionalGeneration"
UNKNOWN = "nothing known: a spec is to be written"


class Missing(Frozen):
    """One model type. `lacks`: what a spec could not say, or where its spec stands."""

    model_type: str
    architecture: str
    lacks: str


def missing(rows: Iterable[Row], root: Path) -> list[Missing]:
    """One entry for each model type of the causal mapping without a generated model, in order."""
    have, lacking = generated_types(rows, root), lacking_values()
    return [
        Missing(model_type, architecture, lacking.get(model_type, UNKNOWN))
        for model_type, architecture in causal_types()
        if model_type not in have
    ]


def missing_images(rows: Iterable[Row], root: Path) -> list[Missing]:
    """The same of the image-text mapping, without those that the causal one has too."""
    have, causal = generated_types(rows, root), {model_type for model_type, _ in causal_types()}
    return [
        Missing(model_type, architecture, _text_lacks(model_type, have))
        for model_type, architecture in image_text_types()
        if model_type not in have | causal
    ]


def generated_types(rows: Iterable[Row], root: Path) -> set[str]:
    """The model types that specs generate: those of a tree, and where it uses the library, the library's."""
    lent = (read_any(path, root).config.model_type for path in all_specs(root) if is_lent(path))
    return {*(row.model_type for row in rows if row.state != "invalid"), *(lent if places(str(root)).borrows else ())}


def _text_lacks(model_type: str, have: Container[str | None]) -> str:
    """Of a model of images and text: its text, where no spec is that of its type."""
    found = vision_table().for_model_type(model_type)
    text = found.parts["text_config"][0] if found is not None else ""
    if not text:
        return UNKNOWN
    return f"images and text; {f'{text} has a spec' if text in have else f'no spec is that of its text, {text}'}"


def causal_types() -> list[tuple[str, str]]:
    """(model type, architecture) of each entry of the causal mapping, in order."""
    known = [config for name in table() if (config := table().get(name)) is not None and config.architectures]
    return sorted((config.model_type, config.architectures[0]) for config in known)


def image_text_types() -> list[tuple[str, str]]:
    """The same of models that write text after images and hold a config of each."""
    known = [found for name in vision_table() if (found := vision_table().get(name)) is not None]
    return sorted((one.model_type, one.architectures[0]) for one in known if one.architectures[0].endswith(GENERATES))


def lacking_values() -> dict[str, str]:
    """Model type -> what of the language is lacking for it."""
    return yaml.safe_load(LACKING.read_text(encoding="utf-8"))


def text(listed: Iterable[Missing]) -> str:
    """Aligned lines."""
    cells = [(one.model_type, one.architecture, one.lacks) for one in listed]
    widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(2)]
    return "".join(f"{kind:{widths[0]}}  {architecture:{widths[1]}}  {lacks}\n" for kind, architecture, lacks in cells)
