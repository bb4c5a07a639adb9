"""The language model inside a larger one: its config, and its tensors among those of towers and projectors."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from codegen.new.headers import Shape
from codegen.new.kind import TOWER, VLM, Kind, classify
from codegen.new.source import Source
from codegen.new.weights import stack_of

_INSIDE = ("language_model", "text_model", "llm")  # modules that hold a whole language model
_FOREIGN = re.compile(f"{TOWER.pattern}|projector|connector|video")


def kind_of(source: Source) -> Kind:
    """The kind of a published model: a causal class is plain where its tensors are none of a tower's, though its config
    names those of a larger model.

    Raises:
        CodegenError: as `classify`.
    """
    stacks = {stack for name in source.tensors if (stack := stack_of(name))}
    return classify(source.config, beside=len(stacks) != 1 or any(map(_FOREIGN.search, source.tensors)))


def language(source: Source, kind: Kind) -> Source:
    """The language model of a vision-language model; any other source as it is."""
    if kind.name != VLM:
        return source
    tied = {name: source.config[name] for name in ("tie_word_embeddings",) if name in source.config}
    config = {"model_type": f"{source.config['model_type']}_text", **tied, **kind.text}
    tensors = text_tensors(source.tensors, config.get("num_hidden_layers"))
    note = "this is a draft of the text alone" + ("" if kind.sees else ": specs have no language for sound")
    notes = (*source.notes, note, *_left_out(source.tensors, tensors))
    return replace(source, config=config, tensors=_unwrapped(tensors), notes=notes)


def text_tensors(tensors: Mapping[str, Shape], layers: object) -> dict[str, Shape]:
    """Those of the language model: all below a module that holds it, else its stack and what stands right beside it.

    layers: how many the config says; of several stacks that of this length is the language model's.
    """
    own = {name: shape for name, shape in tensors.items() if not _FOREIGN.search(name)}
    inside = {name for name in own if any(part in _INSIDE for part in name.split(".")[:-1])}
    stack = "" if inside else _stack(own, layers)
    return {
        name: shape
        for name, shape in own.items()
        if name in inside or name.count(".") == 1 or (not inside and _stands(name, stack))
    }


def _stack(tensors: Mapping[str, Shape], layers: object) -> str:
    """The language model's stack of layers, with a dot at the end; empty where there is none."""
    indices: dict[str, Counter[str]] = {}
    for name in tensors:
        if stack := stack_of(name):
            indices.setdefault(stack, Counter())[name[len(stack) + 1 :].partition(".")[0]] += 1
    best = max(sorted(indices), key=lambda one: (len(indices[one]) == layers, indices[one].total()), default="")
    return f"{best}." if best else ""


def _stands(name: str, stack: str) -> bool:
    """Whether a tensor lies in the stack, or in a module beside it."""
    model = stack[:-1].rpartition(".")[0]
    before = f"{model}." if model else ""
    return name.startswith(stack) or (name.startswith(before) and name[len(before) :].count(".") <= 1)


def _unwrapped(tensors: Mapping[str, Shape]) -> dict[str, Shape]:
    """Names without the module that holds the language model."""
    return {".".join(part for part in name.split(".") if part not in _INSIDE): shape for name, shape in tensors.items()}


def _left_out(tensors: Mapping[str, Shape], kept: Mapping[str, Shape]) -> list[str]:
    """What of the checkpoint is not the language model's, by the modules in which it lies."""
    rest = [name for name in tensors if name not in kept]
    modules = sorted({".".join(name.split(".")[:2]) + (".*" if name.count(".") > 1 else "") for name in rest})
    shown = ", ".join(modules[:8]) + (", ..." if len(modules) > 8 else "")
    return [f"{len(rest)} tensors are not the language model's: {shown}"] if rest else []
