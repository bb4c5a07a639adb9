"""One spec on trial: everything that an accepted spec must do, beside the interpreter's meaning."""

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codegen.errors import SpecError
from nemo_automodel.parity.batches import Batch, batches
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.tolerances import FP32, fp32_bound
from tests.random_specs.package import forget, imported, planned, write
from tests.random_specs.weights import drawn
from tests.reference.interpreter import Interpreter

CONFIGS = 2  # how many of a spec's tiny configs are tried: the base, and one that differs in structure
CLEAR = 2e-6  # how far apart the scores of chosen and other experts must be, so that rounding cannot choose
BACKENDS = {"split": {"projections": "split", "experts": "loop"}, "packed": {"projections": "packed"}}
CAPPED = ("does not support", "softcap", "sinks")  # what a refusal of sdpa may say
PREFIX = 9  # positions that a cache holds before single steps begin


@dataclass(frozen=True)
class Verdict:
    """What became of a spec: `equal`, `refused` (then `notes` are the messages), or `faulty` (then what is wrong)."""

    word: str
    notes: tuple[str, ...] = ()


class Wrong(Exception):
    """Something that an accepted spec must do, and does not."""


def tried(spec: dict[str, Any], scratch: Path) -> Verdict:
    """The verdict on a spec's mapping; its package lies under `scratch` while it is tried."""
    try:
        plan = planned(spec)
    except SpecError as error:
        return _refused(error)
    except Exception:
        return Verdict("faulty", (f"check: {_last_lines()}",))
    under = "import"
    try:
        write(plan, scratch)
        classes = imported(plan)
        for name, values in _chosen(plan.contract.configs):
            under = name
            Trial(spec, *classes, values).run()
    except Wrong as wrong:
        return Verdict("faulty", (f"{under}: {wrong}",))
    except Exception:
        return Verdict("faulty", (f"{under}: {_last_lines()}",))
    finally:
        forget(plan.model.name)
        shutil.rmtree(scratch / plan.model.name, ignore_errors=True)
    return Verdict("equal")


def _refused(error: SpecError) -> Verdict:
    for problem in error.problems:
        if not problem.cure or not problem.message:
            return Verdict("faulty", (f"refused without a cure: {problem}",))
    return Verdict("refused", tuple(f"{problem.path}: {problem.message}" for problem in error.problems))


def _last_lines() -> str:
    lines = traceback.format_exc().strip().splitlines()
    places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
    return f"{lines[-1]} at {places[-1] if places else '?'}"


def _chosen(configs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The base, and others with all flags inverted or another wiring."""
    names = [name for name in configs if name not in ("base", "dropout") and not name.startswith(("rope_", "value_"))]
    names.sort(key=lambda name: not name.startswith("variant_"))
    return [(name, configs[name]) for name in ("base", *names[: CONFIGS - 1])]


class Trial:
    """One config of a spec, with one set of weights."""

    def __init__(self, spec: dict[str, Any], model_class: type, config_class: type, values: Mapping[str, Any]) -> None:
        self.spec, self.model_class, self.config_class, self.values = spec, model_class, config_class, values
        self.batches = batches(self.config().vocab_size)

    def config(self) -> Any:
        return self.config_class(**self.values)

    def run(self) -> None:
        """Raises Wrong at the first thing that differs."""
        models = {name: self.build(name) for name in BACKENDS}
        self.disk = self.weights(models)
        for name, model in models.items():
            self.round_trip(name, model)
        meant = {name: self.meaning(batch) for name, batch in self.batches.items()}
        for name, model in models.items():
            for batch, wanted in meant.items():
                self.compare(f"{name}, eager, {batch}", self.logits(model, self.batches[batch]), wanted)
            self.cached(name, model, meant["plain"])
            self.gradients(name, model)
        self.other_attention(models["split"], meant)

    # what it is built with

    def build(self, backend: str, attention: str = "eager") -> Any:
        model = self.model_class._from_config(
            self.config(), dtype=torch.float32, attn_implementation=attention, backend=BACKENDS[backend]
        )
        return model.eval()

    def weights(self, models: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Random tensors by their names on disk, on which both backends must agree."""
        stored = {name: model.state_dict_adapter.to_hf(model.state_dict()) for name, model in models.items()}
        shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in stored.values()]
        if shapes[0] != shapes[1]:
            raise Wrong(f"split and packed store different tensors: {_difference(*shapes)}")
        for seed in range(8):
            disk = drawn(stored["split"], seed)
            reader = Interpreter(self.spec, self.config(), disk)
            for batch in self.batches.values():
                reader(batch.ids, batch.mask)
            if left := reader.leftover():
                raise Wrong(f"stored, but without meaning: {left[:6]}")
            if reader.margin > CLEAR:
                return disk
        raise Wrong("no weights under which the choice of experts is clear")

    # what it must do

    def round_trip(self, name: str, model: Any) -> None:
        converted = model.state_dict_adapter.from_hf(self.disk)
        found = torch.nn.Module.load_state_dict(model, converted, strict=False)
        missing = sorted(set(found.missing_keys) - set(model.all_tied_weights_keys))
        if missing or found.unexpected_keys:
            raise Wrong(f"{name}: missing {missing}, unexpected {sorted(found.unexpected_keys)}")
        model.tie_weights()
        back = model.state_dict_adapter.to_hf(model.state_dict())
        wrong = sorted(key for key in self.disk if key not in back or not torch.equal(back[key], self.disk[key]))
        if wrong or back.keys() != self.disk.keys():
            raise Wrong(f"{name}: the checkpoint comes back otherwise: {wrong[:6]}")

    def meaning(self, batch: Batch, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        disk = {name: tensor.to(dtype) for name, tensor in self.disk.items()}
        return Interpreter(self.spec, self.config(), disk, dtype)(batch.ids, batch.mask)

    def logits(self, model: Any, batch: Batch, **arguments: Any) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=batch.ids, attention_mask=batch.mask, **arguments).logits

    def compare(self, what: str, ours: torch.Tensor, wanted: torch.Tensor) -> None:
        """At the positions that hold tokens. What rounding does to the meaning itself is measured where it matters."""
        batch = self.batches[what.rpartition(", ")[2]]
        error = distance(ours[batch.real], wanted[batch.real])
        if error <= FP32:
            return
        exact = self.meaning(batch, torch.float64)[batch.real]
        if not error <= fp32_bound(distance(wanted[batch.real], exact)):
            raise Wrong(f"{what}: {error:.1e} off")

    def cached(self, name: str, model: Any, wanted: torch.Tensor) -> None:
        """Some positions at once, three one by one, then the rest: as without a cache."""
        ids, cache, found = self.batches["plain"].ids, None, []
        cuts = (PREFIX, 1, 1, 1, ids.shape[1] - PREFIX - 3)
        for part in ids.split(cuts, dim=1):
            with torch.no_grad():
                out = model(input_ids=part, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            found.append(out.logits)
        self.compare(f"{name}, eager, with a cache, plain", torch.cat(found, 1), wanted)

    def gradients(self, name: str, model: Any) -> None:
        batch = self.batches["left"]
        rows = model.get_output_embeddings().weight.shape[0]  # other tokens can be no targets
        labels = batch.labels.masked_fill(batch.labels >= rows, -100)
        loss = model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
        loss.backward()
        without = [key for key, one in model.named_parameters() if one.requires_grad and one.grad is None]
        if without:
            raise Wrong(f"{name}: no gradient reaches {without[:6]}")
        strange = [
            key for key, one in model.named_parameters() if one.grad is not None and not one.grad.isfinite().all()
        ]
        if strange:
            raise Wrong(f"{name}: the gradient is not finite in {strange[:6]}")
        model.zero_grad()

    def other_attention(self, model: Any, meant: Mapping[str, torch.Tensor]) -> None:
        """sdpa gives the same, or is refused because of a soft-cap or sinks."""
        try:
            model.set_attn_implementation("sdpa")
        except ValueError as error:
            if "does not support" not in str(error) or not self.caps():
                raise
            return
        if model.config._attn_implementation != "sdpa":
            raise Wrong(f"sdpa became {model.config._attn_implementation}")
        for batch in ("plain", "left"):
            self.compare(f"split, sdpa, {batch}", self.logits(model, self.batches[batch]), meant[batch])
        self.cached("split, sdpa", model, meant["plain"])

    def caps(self) -> bool:
        """Whether some attention of the spec may have a soft-cap or sinks."""
        written = str(self.spec)
        return "softcap" in written or "sinks" in written


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    names = sorted(first.keys() | second.keys())
    return [f"{name} {first.get(name)} {second.get(name)}" for name in names if first.get(name) != second.get(name)][:6]
