"""Writes `codegen/language/reserved_names.json`: names that the classes below generated ones use.

The generator must know them without importing torch. Run after a change of those classes, or an upgrade:

    python -m nemo_automodel.parity.reserved_names

Names of other releases of transformers stay in the list.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from torch import nn
from transformers import LlamaConfig, LlamaModel, PreTrainedConfig, PreTrainedModel

from nemo_automodel.components.models.common.attention import Attention
from nemo_automodel.components.models.common.causal_lm import CausalLM, DecoderLayer, DecoderModel
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import CombinedQKVAttentionMixin
from nemo_automodel.components.moe.causal_lm import MoECausalLM, MoEDecoderModel

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "codegen/language/reserved_names.json"
TEMPLATES = ROOT / "codegen/templates"
BASES: dict[str, tuple[type, ...]] = {
    "attention": (CombinedQKVAttentionMixin, Attention, nn.Module),
    "mlp": (CombinedGateUpMLP, nn.Module),
    "layer": (DecoderLayer,),
    "model": (DecoderModel, MoEDecoderModel),
    "head": (CausalLM, MoECausalLM),
}
ROLES = ("norm", "layers", "model", "lm_head", "embed_tokens", "sinks", "act_fn")  # that the classes read by name


def table() -> dict[str, list[str]]:
    """Holder -> the names that it uses."""
    LlamaModel(LlamaConfig(vocab_size=2, hidden_size=4, num_hidden_layers=0, num_attention_heads=1))  # see `_used`
    found = {holder: {name for base in bases for name in _used(base)} for holder, bases in BASES.items()}
    found["module"] = set(_imported())
    found["config"] = {name for name in dir(PreTrainedConfig) if callable(getattr(PreTrainedConfig, name, None))}
    return {holder: sorted(filter(_is_free, names.difference(ROLES))) for holder, names in found.items()}


def _is_free(name: str) -> bool:
    """Whether a spec could give the name at all: none starts with an underscore."""
    return not name.startswith("_")


def _used(base: type) -> Iterator[str]:
    """Every attribute of a class and of a fresh module, and what its own and its inherited methods read of `self`.

    transformers gives `nn.Module` a method more when the first model of a process draws its weights.
    """
    yield from (*dir(base), *vars(nn.Module()))
    for cls in base.__mro__:
        if cls.__module__.startswith("nemo_automodel.") or cls is PreTrainedModel:
            yield from _of_self(ast.parse(textwrap.dedent(inspect.getsource(cls))))


def _of_self(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr


def _imported() -> Iterator[str]:
    """What the templates of generated modules import, and the functions that they define."""
    for path in TEMPLATES.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom) and path.name != "holes.py":
                yield from (name.name.partition(".")[0] for name in node.names)


def main() -> None:
    """Write the table."""
    known: dict[str, list[str]] = json.loads(TABLE.read_text(encoding="ascii")) if TABLE.exists() else {}
    found = {holder: sorted({*names, *known.get(holder, ())}) for holder, names in table().items()}
    TABLE.write_text(json.dumps(found, indent=0) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
