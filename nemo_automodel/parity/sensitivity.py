"""Is every mutation of a spec noticed? A check that cannot fail is a defect.

Each mutant is generated in memory, run, and compared on the strong tiny configs as the generated tests would: weights
that fit, logits, gradients, dropout, bf16 bits, packed projections, and the way back to disk.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import nn

from codegen.configs import ConfigClass, table
from codegen.errors import CodegenError
from codegen.language.check import read_text
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.vision.check import read_image_text
from codegen.language.vision.loaded import LoadedImageText
from codegen.plan.model import build
from codegen.plan.vision.model import build_image_text
from codegen.render import image_text
from codegen.render.files import model_files
from codegen.tiny.image_text import outside
from nemo_automodel.parity import asked, mixtures, state_dict
from nemo_automodel.parity.bits import differing
from nemo_automodel.parity.compare import distance, failures
from nemo_automodel.parity.leftovers import not_left_out
from nemo_automodel.parity.mutant import Mutation
from nemo_automodel.parity.mutations import mutations
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.project import Project
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.reference_answers import Measured, dtypes
from nemo_automodel.parity.sandbox import PLACES, installed
from nemo_automodel.parity.subject import Subject

CAUGHT, REFUSED, SURVIVED = "caught", "refused", "survived"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutation. `excused`: it survived for a reason that no test could change."""

    mutation: str
    outcome: str
    reason: str
    excused: bool = False


class Noticed(Exception):
    """A mutant differs; the message says where."""


def judge_all(project: Project, progress: Callable[[str], None]) -> Iterator[Verdict]:
    """A verdict for each mutation of a spec, and for each of its `tests.equal` that is none or is noticed.

    Where the spec as it is would be noticed too, that is the only verdict: whatever else is noticed shows nothing.
    """
    bench = Bench(project)
    if noticed := bench.notices(bench.files):
        yield Verdict("none", SURVIVED, f"the spec as it is does not pass: {noticed}")
        return
    text = (project.root / project.spec.path).read_text()
    config = class_of(project.spec)
    reasons, used = project.spec.tests.get("equal", {}), set[str]()
    for mutation in mutations(text, project.spec, config, project.configs["base"]):
        progress(mutation.name)
        if verdict := judge(bench, mutation):
            yield explained(verdict, reasons, used)
    for name in sorted(reasons.keys() - used):
        yield Verdict(name, SURVIVED, "tests.equal names it, and it is no mutation that goes unnoticed: take it out")


def explained(verdict: Verdict, reasons: Mapping[str, str], used: set[str]) -> Verdict:
    """A survivor for which the spec gives the reason is excused, and the reason is used; several may have one name."""
    if verdict.outcome != SURVIVED or verdict.excused or verdict.mutation not in reasons:
        return verdict
    used.add(verdict.mutation)
    return replace(verdict, reason=reasons[verdict.mutation], excused=True)


def judge(bench: "Bench", mutation: Mutation) -> Verdict | None:
    """None for a mutation that spells a default out."""
    try:
        files = generated(mutation.text, bench.project)
    except CodegenError as error:
        return Verdict(mutation.name, REFUSED, str(error).split("\n")[0])
    except Exception as error:  # a fault of the generator, which must not hide the verdicts on the others
        return Verdict(mutation.name, SURVIVED, f"the generator ends with {type(error).__name__}: {error}")
    if files == bench.files:
        return same_code(mutation)
    if noticed := bench.notices(files):
        return Verdict(mutation.name, CAUGHT, noticed)
    if is_dtype_key(mutation.key):
        return Verdict(mutation.name, SURVIVED, "dtype only: no bit differs on these inputs", excused=True)
    if mutation.key == "lookup" and bench.looks_up_its_own_alone:
        return Verdict(mutation.name, SURVIVED, "the reference looks up no id beyond its vocabulary", excused=True)
    if mutation.key == "drop" or "checkpoint.drop" in mutation.name:
        return Verdict(mutation.name, SURVIVED, "the reference knows no such tensor", excused=True)
    return Verdict(mutation.name, SURVIVED, "other code, the same outputs, gradients and bits")


def same_code(mutation: Mutation) -> Verdict | None:
    """A mutant whose code is the original's: a key that says what its default says, or one that is not heeded."""
    if mutation.derived:
        return None
    if not mutation.from_default:
        return Verdict(mutation.name, SURVIVED, "says what the default says: the same code is generated", excused=True)
    if is_dtype_key(mutation.key):
        return Verdict(mutation.name, SURVIVED, "dtype only: another key implies it", excused=True)
    return Verdict(mutation.name, SURVIVED, "the key is not heeded: the same code is generated")


def is_dtype_key(name: str) -> bool:
    """Whether a key's meaning is a dtype alone, by what the language says of it; or the rounding of a norm or bias."""
    return name in ("cast", "dtype", "bias_rounding") or name.endswith("_dtype")


def class_of(spec: LoadedSpec | LoadedImageText) -> ConfigClass:
    """The config class of either kind of spec."""
    return spec.config_class if isinstance(spec, LoadedImageText) else config_class(spec, table())


def generated(text: str, project: Project) -> dict[str, str]:
    """The model's files for the text of a spec in place of the project's: code alone, without what is said about it."""
    path = project.spec.path
    if isinstance(project.spec, LoadedImageText):
        loaded = read_image_text(load(text, path), project.root / path, project.root)
        files = image_text.model_files(build_image_text(loaded, PLACES), lambda source, _: source)
    else:
        spec = read_text(text, path)
        files = model_files(build(spec, config_class(spec, table()), PLACES), lambda source, _: source)
    return {name: _without_docstrings(source) for name, source in files.items()}


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(ast.fix_missing_locations(tree))


class Bench:
    """References of all variants, measured once, and the questions that each mutant is asked, cheapest first."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.subject = project.subject()
        text = (project.root / project.spec.path).read_text()
        self.files = generated(text, project)
        dropping = [name for name in project.configs if name.startswith("dropout")]
        names = [name for name in project.configs if name not in dropping]
        self.variants = {
            name: Measured(self.subject, project.configs[name], short=name.startswith("value_")) for name in names
        }
        faint = {"faint": Reference.faint} if isinstance(project.spec, LoadedImageText) else {}
        self.extremes = {
            name: Measured(self.subject, project.configs["base"], make, short=True)
            for name, make in (faint | {"loud": Reference.loud}).items()
        }
        self.training = {name: Measured(self.subject, project.configs[name]) for name in ("base", *dropping)}

    @cached_property
    def tokens(self) -> dict[str, dict[int, torch.Tensor]]:
        """What layers of experts are asked about, by variant: what the spec as it is makes of their weights."""
        with installed(self.project.spec.name, self.files) as modules:
            return {name: mixtures.asked(self.build(modules, one)) for name, one in self.variants.items()}

    @cached_property
    def looks_up_its_own_alone(self) -> bool:
        """Whether the reference takes no placeholder beyond the vocabulary: no test sees what would stand there."""
        spec = self.project.spec
        if not isinstance(spec, LoadedImageText):
            return False
        base = self.project.configs["base"]
        try:
            measured = Measured(self.subject, base | outside(spec.config_class, base))
            measured.run(measured.reference.model, "plain")
        except IndexError:
            return True
        return False

    def notices(self, files: dict[str, str]) -> str | None:
        """What is wrong with a model of these files; None where nothing is."""
        try:
            with installed(self.project.spec.name, files) as modules:
                self.examine(modules)
        except Noticed as found:
            return str(found)
        except Exception as error:
            return f"{type(error).__name__}: {error}".split("\n")[0]
        return None

    def examine(self, modules: Mapping[str, ModuleType]) -> None:
        """Raises Noticed, or whatever the mutant raises, where it is not what the reference is."""
        models = dict[str, nn.Module]()  # in fp32, each built once
        for name, measured in (self.variants | self.extremes).items():
            models[name] = self.build(modules, measured)
            self._logits(models[name], name, measured)
        for name, measured in self.variants.items():
            if not name.startswith(("rope_", "value_")):
                self._embedded(models[name], name, measured)
                self._memory(models[name], name, measured)
                self._mixtures(models[name], name, measured)
                self._balance(models[name], name, measured)
                self._bits(modules, name, measured)
                self._gradients(models[name], name, measured)
                self._packed(modules, name, measured)
        for name, measured in self.training.items():
            self._training(modules, name, measured)

    def build(self, modules: Mapping[str, ModuleType], measured: "Measured", **options: Any) -> nn.Module:
        """The mutant with the weights of a reference."""
        model_class = getattr(modules["model"], self.subject.architecture)
        config_class = getattr(modules["config"], self.subject.config_class.__name__) if "config" in modules else None
        subject = Subject(model_class, config_class or self.subject.config_class, self.subject.reference_class)
        options.setdefault("attention", self.subject.attention)
        return build_ours(model_class, subject.config(measured.values), measured.reference.disk, **options)

    def _logits(self, model: nn.Module, name: str, measured: "Measured") -> None:
        for batch, wanted in measured.logits.items():
            error = distance(measured.run(model, batch), wanted)
            if not error <= measured.bound:
                raise Noticed(f"{name}, {batch}: logits {error:.1e}")

    def _embedded(self, model: nn.Module, name: str, measured: "Measured") -> None:
        _notice(f"{name}: logits of given embeddings", asked.embedded(model, measured))

    def _memory(self, model: nn.Module, name: str, measured: "Measured") -> None:
        if found := asked.in_memory(model, measured):
            raise Noticed(f"{name}: {found[0].where}")

    def _mixtures(self, model: nn.Module, name: str, measured: "Measured") -> None:
        if failed := failures(mixtures.compare(measured.reference.model, model, self.tokens.get(name))):
            raise Noticed(f"{name}: {failed[0].what} {failed[0].error:.1e}")

    def _balance(self, model: nn.Module, name: str, measured: "Measured") -> None:
        _notice(f"{name}: loss with that which balances experts", asked.balance(model, measured))

    def _bits(self, modules: Mapping[str, ModuleType], name: str, measured: "Measured") -> None:
        model = self.build(modules, measured, dtype=torch.bfloat16)
        if differing(model, measured.reference.in_bf16, measured.batches["plain"]):
            raise Noticed(f"{name}: bits in bf16")
        if others := dict(dtypes(model).items() ^ measured.dtypes.items()):
            raise Noticed(f"{name}: {min(others)} is of another dtype where the model is bf16")

    def _gradients(self, model: nn.Module, name: str, measured: "Measured") -> None:
        if found := asked.gradients(model, measured):
            raise Noticed(f"{name}: {found[0].where} {found[0].error:.1e}")

    def _packed(self, modules: Mapping[str, ModuleType], name: str, measured: "Measured") -> None:
        model = self.build(modules, measured, backend="packed")
        _notice(f"{name}, packed: logits", asked.packed(model, measured))
        if failed := failures(state_dict.compare(model, measured.reference.disk)):
            raise Noticed(f"{name}, packed: {failed[0].what}: {failed[0].note}")

    def _training(self, modules: Mapping[str, ModuleType], name: str, measured: "Measured") -> None:
        """Dropout draws the same numbers in the same places; and what the reference leaves out of a file, so do we."""
        model = self.build(modules, measured).train()
        _notice(f"{name}: loss in training", asked.training(model, measured))
        if lost := not_left_out(model, measured.reference):
            raise Noticed(f"{name}: {lost[0]} would be refused")


def _notice(what: str, found: Sequence[asked.Difference]) -> None:
    """Raises Noticed where anything differs."""
    if found:
        raise Noticed(what)
