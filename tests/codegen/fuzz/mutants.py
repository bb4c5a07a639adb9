"""Spec files near the committed ones: whole values, keys, words, expressions, equations, names and characters changed.

`mutant(seed)` is the same text for the same seed. Most mutants are wrong in one way or another; some are right.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

from codegen.configs import table
from codegen.language.keys import Section, keys
from codegen.language.load import load
from codegen.language.spec import EXPRESSION_CALLS, FUNCTIONS, PARTS, ROLE_NAMES, WIRINGS, Spec
from nemo_automodel.parity.mutate_text import equation_mutants, expression_mutants

Path_ = tuple[Any, ...]
ROOT = Path(__file__).parents[3]
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "specs").rglob("*.yaml"))}
TREES: dict[str, Any] = {name: load(text, name).plain() for name, text in TEXTS.items()}

HUGE = [10**19, 10**400, -(10**30), 2**31, 2**63, 99999999, 1e308, 1e-308, -1, 0, -0.0, 0.5, 17, True, False, None]
POWERS = [
    "10 ** 10 ** 10",
    "2 ** 99999999",
    "9 ** 9 ** 9 * layer",
    "'a' * 999999999",
    "[0] * 10 ** 9",
    "1 % 0",
    "1 / 0",
]
ODD = [
    "config.hidden_act < 3",
    "config.hidden_size[0]",
    "layer % config.x",
    "sqrt(-1)",
    "log(0)",
    "len(3)",
    "min()",
    "-'a'",
]
ODD += ["config.num_hidden_layers[layer]", "config.layer_types[99]", "max(config.hidden_act, 1)", "sum('a')", "config"]
ODD += ["int('a')", "floor(1e308 * 1e10)", "int(1e308 * 1e10)", "1e308 * 10 < layer", "config.rope_parameters", "layer"]
ODD += [
    "config.hidden_size ** config.hidden_size ** 9",
    "not (config.hidden_act + 1)",
    "per_layer(config.hidden_size, 'a')",
]
ODD += [
    "[" * 300 + "]" * 300,
    "(" * 150 + "1" + ")" * 150,
    "-" * 300 + "1",
    "not " * 200 + "1",
    "1 if 1 else " * 80 + "1",
]
WORDS = [
    "forward",
    "config",
    "self",
    "super",
    "int",
    "training",
    "parameters",
    "lambda",
    "None",
    "layer_idx",
    "backend",
]
WORDS += [
    "generate",
    "weight",
    "x",
    "rope",
    "mask",
    "nn",
    "torch",
    "model",
    "Attention",
    "CausalLM",
    "PreTrainedConfig",
]
WORDS += [
    "k_proj",
    "self_attn",
    "attend",
    "state_dict",
    "__init__",
    "_modules",
    "a.b",
    "a..b",
    "",
    " ",
    "é",
    "0",
    "a b",
]
WORDS += [*ROLE_NAMES.values(), *WIRINGS, *FUNCTIONS, *EXPRESSION_CALLS, *PARTS]
LANGUAGE = sorted({name for cls in [Spec, *PARTS.values()] for name in keys(cls)})
CONDITIONS = ["layer > 1", "layer % 2 == 1", "config.tie_word_embeddings", "config.attention_bias", "layer in [0, 2]"]
CONDITIONS += ["config.hidden_act == 'gelu'", "config.num_hidden_layers > 2", *POWERS, *ODD]


def mutant(seed: int) -> tuple[str, str]:
    """(name of the spec, text) for a seed."""
    draw = Random(seed)
    name = draw.choice(list(TEXTS))
    tree = load(TEXTS[name], name).plain()
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 5))):
        draw.choice(MUTATIONS)(tree, draw)
    text = yaml.safe_dump(tree, sort_keys=False, width=10**6, allow_unicode=True)
    return name, _edited(text, draw) if draw.random() < 0.1 else text


def _edited(text: str, draw: Random) -> str:
    """A few characters of the file changed."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text) + 1)
        deep = draw.choice("[{(") * draw.choice((50, 5000))
        new = (
            deep
            if draw.random() < 0.1
            else "".join(draw.choices("{}[]():,.=*&!|>-'\"#%@`\n\t a1xσ\u202e\x00", k=draw.randint(0, 3)))
        )
        text = text[:at] + new + text[at + draw.randint(0, 5) :]
    return text


def _places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place in a tree below its root."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in items:
        yield from _places(child, (*path, name))


def _at(tree: Any, path: Path_) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _put(tree: Any, path: Path_, value: Any) -> None:
    _at(tree, path[:-1])[path[-1]] = value


def _place(tree: Any, draw: Random) -> Path_:
    return draw.choice(list(_places(tree)) or [("name",)])


def _scalar(draw: Random) -> Any:
    pools: tuple[Any, ...] = (HUGE, POWERS, ODD, WORDS, LANGUAGE, CONDITIONS)
    if draw.random() < 0.2:
        return f"config.{draw.choice(_fields(draw))}"
    return draw.choice(draw.choice(pools))


def _fields(draw: Random) -> list[str]:
    found = table().get(draw.choice(("LlamaConfig", "Gemma2Config", "DbrxConfig", "DeepseekV3Config", "GPT2Config")))
    assert found is not None
    return list(found.names())


def _value(draw: Random) -> Any:
    """A scalar, or something nested."""
    kind = draw.random()
    if kind < 0.7:
        return _scalar(draw)
    if kind < 0.8:
        return [_scalar(draw) for _ in range(draw.randint(0, 3))]
    if kind < 0.97:
        return {draw.choice((*LANGUAGE, *WORDS)): _scalar(draw) for _ in range(draw.randint(0, 3))}
    value: Any = _scalar(draw)
    for _ in range(draw.choice((5, 31, 40, 90))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def replace_value(tree: Any, draw: Random) -> None:
    _put(tree, _place(tree, draw), _value(draw))


def remove(tree: Any, draw: Random) -> None:
    path = _place(tree, draw)
    del _at(tree, path[:-1])[path[-1]]


def rename_key(tree: Any, draw: Random) -> None:
    path = _place(tree, draw)
    holder = _at(tree, path[:-1])
    if isinstance(holder, dict):
        holder[draw.choice((*LANGUAGE, *WORDS, 7))] = holder.pop(path[-1])


def add_key(tree: Any, draw: Random) -> None:
    """A key of the language where a mapping stands."""
    holders = [tree, *(held for path in _places(tree) if isinstance(held := _at(tree, path), dict))]
    draw.choice(holders)[draw.choice(LANGUAGE)] = _value(draw)


def transplant(tree: Any, draw: Random) -> None:
    """What another spec says at the same place, or a whole section of it."""
    other = TREES[draw.choice(list(TREES))]
    path = _place(other, draw)
    path = path[: draw.randint(1, len(path))]
    value = _copy(_at(other, path))
    try:
        _put(tree, path, value)
    except (KeyError, IndexError, TypeError):
        tree[path[0]] = _copy(other[path[0]])


def move(tree: Any, draw: Random) -> None:
    _put(tree, _place(tree, draw), _copy(_at(tree, _place(tree, draw))))


def _text(tree: Any, draw: Random) -> Any:
    """The path of one text, or None where there is none."""
    texts = [path for path in _places(tree) if isinstance(_at(tree, path), str)]
    return draw.choice(texts) if texts else None


def change_text(tree: Any, draw: Random) -> None:
    """One operator, operand, call or constant of an expression or an equation."""
    path = _text(tree, draw)
    if path is None:
        return
    text = _at(tree, path)
    try:
        mutants = list((equation_mutants if re.match(r"\w+ = ", text) else expression_mutants)(text))
    except (SyntaxError, ValueError, RecursionError):
        return
    if mutants:
        _put(tree, path, draw.choice(mutants)[1])


def change_word(tree: Any, draw: Random) -> None:
    """One word of a text, everywhere in it or once."""
    path = _text(tree, draw)
    if path is None:
        return
    text = _at(tree, path)
    words = re.findall(r"\w+", text)
    if words:
        new = str(_scalar(draw))
        _put(tree, path, re.sub(rf"\b{draw.choice(words)}\b", lambda _: new, text, count=draw.choice((0, 1))))


def overlay(tree: Any, draw: Random) -> None:
    """A part of another spec as an overlay."""
    other = TREES[draw.choice(list(TREES))]
    section = draw.choice([name for name in other if name in keys(Spec)] or ["norm"])
    entry = {"when": draw.choice(CONDITIONS), section: _copy(other.get(section, {}))}
    kind = draw.choice(("layers", "variants"))
    written = tree.get(kind, [])
    tree[kind] = [*(written if isinstance(written, list) else [written]), entry]


def tiny(tree: Any, draw: Random) -> None:
    """A value of the test's config."""
    tests = tree.setdefault("tests", {})
    values = tests.setdefault("tiny", {}) if isinstance(tests, dict) else {}
    if isinstance(values, dict):
        values[draw.choice(_fields(draw))] = _value(draw)
    if isinstance(tests, dict) and draw.random() < 0.3:
        tests["excluded"] = draw.choice(CONDITIONS)


def name_on_disk(tree: Any, draw: Random) -> None:
    """A name of a role, taken or forbidden more often than not."""
    checkpoint = tree.setdefault("checkpoint", {})
    names = checkpoint.setdefault("names", {}) if isinstance(checkpoint, dict) else {}
    if isinstance(names, dict):
        role = draw.choice(list(ROLE_NAMES))
        names[draw.choice((role, f"attention.{role}", f"mlp.{role}", f"experts.{role}"))] = draw.choice(WORDS)


def section_of_language(tree: Any, draw: Random) -> None:
    """A key of a section with a word of its own."""
    name, key = draw.choice(list(keys(Spec).items()))
    cls: type[Section] | None = key.section or (draw.choice(list(key.kinds.values())) if key.kinds else None)
    if cls is not None and keys(cls):
        inner, its = draw.choice(list(keys(cls).items()))
        value = draw.choice(its.words) if its.words else _value(draw)
        below = tree.get(name)
        tree[name] = {**(below if isinstance(below, dict) else {}), inner: value}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(child) for name, child in value.items()}
    return [_copy(child) for child in value] if isinstance(value, list) else value


MUTATIONS: tuple[Callable[[Any, Random], None], ...] = (
    *(replace_value, remove, rename_key, add_key, transplant, transplant, move, change_text, change_text),
    *(change_word, change_word, overlay, overlay, tiny, name_on_disk, section_of_language, section_of_language),
)
