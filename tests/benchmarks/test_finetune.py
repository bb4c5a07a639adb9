"""The benchmarks of recipes run to their end, on models that take seconds; both sides learn the same."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = {"vocab_size": 64, "hidden_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 2, "num_experts": 4}


def told(module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *said: str) -> Any:
    """What a benchmark prints as JSON."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *said, "--rounds", "1", "--json"])
    capsys.readouterr()
    module.main()
    return json.loads(capsys.readouterr().out)


def test_from_the_start_to_the_first_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Conversations: the plain script learns what the recipe does, by TRL's own tokens and masks."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    said = ("--size", "small", "--data", "chat", "--entry", "launch", "--warm", "0")
    (result,) = told(import_module("finetune_start"), monkeypatch, capsys, *said).values()
    assert result["launch"]["losses"] == pytest.approx(result["script"]["losses"], abs=1e-5)
    assert all(result["launch"][what]["median"] > 0 for what in ("start", "processor", "peak", "whole"))
    assert result["launch"]["peak"]["median"] <= result["launch"]["whole"]["median"]


def test_a_mixture_in_the_same_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = import_module("finetune_mixture")
    for name, size in TINY.items():
        monkeypatch.setitem(module.SHAPE, name, size)
    said = ("--on", "fsdp", "--steps", "1", "--accumulate", "2", "--length", "8", "--batch", "1")
    result = told(module, monkeypatch, capsys, *said)["fsdp"]
    assert len(result["ours"]["losses"]) == 2
    assert result["ours"]["losses"] == pytest.approx(result["theirs"]["losses"], abs=1e-5)
    assert result["ratio"] > 0 and result["ratio_by_the_clock"] > 0
