"""Registries of other packages: found by their entry points or by `register`, and never mixed up."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from nemo_automodel import register
from nemo_automodel._transformers import lookup, registries

TINY = ("tests.common.tiny", "TinyForCausalLM")


@pytest.fixture
def package(monkeypatch):
    """Makes a module with a registry; of others nothing is known within a test."""
    monkeypatch.setattr(registries, "_registered", [])
    points = []
    monkeypatch.setattr(registries, "entry_points", lambda group: points)

    def make(name, installed=False, **mappings):
        module = ModuleType(name)
        vars(module).update(mappings)
        monkeypatch.setitem(sys.modules, name, module)
        if installed:
            points.append(EntryPoint(name, name, registries.GROUP))
        registries._foreign.cache_clear()

    yield make
    registries._foreign.cache_clear()


def test_an_installed_package_is_found(package):
    package("theirs", installed=True, MODEL_ARCH_MAPPING={"TheirsForCausalLM": TINY})
    assert lookup.resolve("TheirsForCausalLM").__name__ == "TinyForCausalLM"
    assert lookup.resolve("LlamaForCausalLM").__module__ == "nemo_automodel.components.models.llama.model"


def test_a_program_registers_its_own_and_it_comes_first(package):
    package("theirs", MODEL_ARCH_MAPPING={"LlamaForCausalLM": TINY}, MODEL_TYPE_MAPPING={"llama": (*TINY, {"tag": 1})})
    assert lookup.resolve("LlamaForCausalLM").__name__ == "LlamaForCausalLM"
    register("theirs")
    register("theirs")
    assert lookup.resolve("LlamaForCausalLM").__name__ == "TinyForCausalLM"
    assert lookup.resolve_type("llama").__name__ == "TinyForCausalLM"


def test_two_that_disagree_are_refused(package):
    package("ones", installed=True, MODEL_ARCH_MAPPING={"SameForCausalLM": TINY})
    package("others", installed=True, MODEL_ARCH_MAPPING={"SameForCausalLM": ("elsewhere", "Same")})
    with pytest.raises(ValueError, match="'SameForCausalLM' is registered by ones and by others: uninstall one"):
        lookup.resolve("SameForCausalLM")


def test_one_that_cannot_be_imported_is_an_error(package):
    with pytest.raises(ImportError, match="no_such_registry"):
        register("no_such_registry")
    assert lookup.resolve("LlamaForCausalLM") is not None
