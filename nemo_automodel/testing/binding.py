"""How a generated test class is bound to a model: which tests run on which variants, and what they are given."""

import copy
from functools import cache, lru_cache, partial
from itertools import product

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from nemo_automodel._transformers.auto_model import NeMoAutoModelForCausalLM
from nemo_automodel._transformers.registries import register
from nemo_automodel.components.moe.experts import GroupedExperts, loop
from nemo_automodel.parity import memory
from nemo_automodel.parity.newer import refuse_newer
from nemo_automodel.parity.ours import BACKENDS, build_ours
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.subject import subject
from nemo_automodel.testing.sample import sample


class Binding:
    """The attributes of a generated test class, and cached models. Tests that change a model ask for a `fresh` one.

    A test runs once for each value of the parameters it names: `variant` (every config), `stored` (configs that differ
    in what is stored or wired, not only in how positions are scaled), `main` (the base, its inverted flags, and other
    variants of the whole model), `value` (configs with a value that the spec compares with: sizes may be large),
    `dropout` (the configs with dropout, or the base where the family has none) and `backend` (split and packed).
    At most one of them is a config's. `sample` says which of the runs are left to `-m ""`.
    """

    spec: str
    architecture: str
    model_module: str
    config_class: str
    registry: str | None = None  # dotted, of models that are not the library's
    reference: str | None = None
    attention: str = "eager"  # of the reference
    positions: str = "given"  # counted by the reference whatever it is given, or of each text alone
    disk: str = "written"  # or read alone, by a reference that writes other names than published ones
    configs: dict
    auto_class = NeMoAutoModelForCausalLM
    drawn_for = "base"  # the variant that batches are drawn for

    def pytest_generate_tests(self, metafunc):
        if self.registry is not None:
            register(self.registry)
        if not any(line.startswith("full:") for line in metafunc.config.getini("markers")):
            metafunc.config.addinivalue_line("markers", "full: runs beyond the sample of every run")
        values = [name for name in self.configs if name.startswith("value_")]
        dropouts = [name for name in self.configs if name.startswith("dropout")]
        variants = [name for name in self.configs if name not in (*dropouts, *values)]
        stored = [name for name in variants if not name.startswith("rope_")]
        choices = {
            "variant": variants,
            "stored": stored,
            "main": [name for name in stored if name in ("base", "flags") or name.startswith("variant_")],
            "value": values or ["base"],
            "dropout": dropouts or ["base"],
        }
        config = [name for name in choices if name in metafunc.fixturenames]
        backend = ["backend"] if "backend" in metafunc.fixturenames else []
        configs, backends = choices[config[0]] if config else [], [*BACKENDS] if backend else []
        always = sample(self.spec, metafunc.function.__name__, configs, backends)
        made = [*product(configs or [None], backends or [None])]
        if metafunc.config.getoption("markexpr") == "not full":  # two runs of three would be made to be left out
            made = [run for run in made if run in always] or made[:1]
        runs = [pytest.param(*filter(None, run), marks=() if run in always else pytest.mark.full) for run in made]
        if config or backend:
            metafunc.parametrize((*config, *backend), runs)
        elif not always:
            metafunc.parametrize((), [pytest.param(marks=pytest.mark.full, id=pytest.HIDDEN_PARAM)])

    @pytest.fixture(autouse=True)
    def _in_this_release(self):
        refuse_newer(self.config_class)

    @property
    def subject(self):
        return _subject(type(self))

    @property
    def model_class(self):
        return self.subject.model_class

    @property
    def in_transformers(self):
        """Whether the reference is one of transformers' models (and not a plain one of tests/reference)."""
        return issubclass(self.subject.reference_class, PreTrainedModel)

    def config(self, variant="base", **changes):
        return self.subject.config(self.configs[variant] | changes)

    def given(self, variant="base"):
        """The randomised reference of a variant. Shared: read only."""
        return _reference(type(self), variant)

    def batches(self, *names):
        found = self.given(self.drawn_for).drawing.batches()
        return {name: found[name] for name in names} if names else found

    def batch(self, name="plain"):
        return self.batches()[name]

    def ours(self, variant="base", backend="split", dtype=torch.float32):
        """Our model with the reference's weights and attention, in eval mode. Shared: read only."""
        return _ours(type(self), variant, backend, dtype)

    def fresh(self, variant="base", backend="split", attention=None, **changes):
        """The same, for the test alone."""
        reference, attention = self.given(variant), attention or self.attention
        config = self.config(variant, **changes)
        return build_ours(self.model_class, config, reference.disk, backend=backend, attention=attention)

    def untrained(self, variant="base", backend="split", seed=0, **changes):
        """Our model as it starts, in train mode."""
        torch.manual_seed(seed)
        config = self.config(variant, **changes)
        return self.model_class._from_config(
            config, attn_implementation="eager", backend={"projections": backend}
        ).train()

    def write(self, folder, tensors):
        """A checkpoint with the base config and these tensors."""
        self.config().save_pretrained(folder)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    def logits(self, model, batch, **arguments):
        """At the positions that hold tokens."""
        with torch.no_grad():
            return model(**batch.inputs, **arguments).logits[batch.real]


@cache
def _subject(bound):
    model = f"{bound.model_module}:{bound.architecture}"
    return subject(model, bound.config_class, bound.reference, bound.attention, bound.positions, bound.disk)


@lru_cache(64)  # the configs of a family or two: a run of all families would keep thousands of models
def _reference(bound, variant):
    return Reference(_subject(bound), bound.configs[variant])


@lru_cache(64)
def _ours(bound, variant, backend, dtype):
    reference = _reference(bound, variant)
    config = _subject(bound).config(bound.configs[variant])
    options = {"backend": backend, "attention": bound.attention, "dtype": dtype}
    return build_ours(_subject(bound).model_class, config, reference.disk, **options)


def summed_alike(ours, reference):
    """Ours; beside a class from before 5.18 that adds up the experts of a token at once, a copy that does so too."""
    if not memory.is_older(reference):
        return ours
    ours = copy.deepcopy(ours)
    for module in ours.modules():
        if isinstance(module, GroupedExperts):
            module.implementation = partial(loop, at_once=True)
    return ours
