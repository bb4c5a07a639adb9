"""What a candidate is asked on each config: what a mutant is asked (sensitivity), with what differs for an answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from nemo_automodel.components.models.common.checkpoint.survey import is_ignored
from nemo_automodel.parity import asked, memory, mixtures, state_dict
from nemo_automodel.parity.asked import NOWHERE, Difference
from nemo_automodel.parity.bits import is_beside_projector, same_features
from nemo_automodel.parity.compare import distance, failures
from nemo_automodel.parity.infer.differences import again, differences
from nemo_automodel.parity.infer.oracle import EXTREMES, Oracle
from nemo_automodel.parity.infer.trial import Lacking, Trial, kept
from nemo_automodel.parity.infer.variants import DROPOUT
from nemo_automodel.parity.leftovers import not_left_out
from nemo_automodel.parity.ours import has_one_order
from nemo_automodel.parity.reference_answers import dtypes

ALIKE = ("rope_", "value_", *EXTREMES)  # configs of which outputs and tensors tell all
EPSILONS = (1e-20, 1e-12)  # of sums of experts' weights, which only faint scores show

TRAINING = "loss in training"
IN_BF16 = ("dtypes in bf16", "bits in bf16")

Ask = Callable[[Trial], list[Difference]]
Again = Callable[[Trial, Sequence[Difference]], list[Difference]]


@dataclass(frozen=True)
class Question:
    """One check. what: its kind. case: of which config. again: asks single components alone, in one forward."""

    what: str
    case: str
    ask: Ask
    again: Again | None = None
    order: tuple[str, ...] = ()


def questions(cases: Mapping[str, Oracle]) -> Iterator[Question]:
    """All that is asked, what costs least and tells most first."""
    whole = {name: one for name, one in cases.items() if not name.startswith(DROPOUT)}  # others show in training alone
    small = {name: one for name, one in whole.items() if not name.startswith(ALIKE)}
    for name, oracle in whole.items():
        yield Question("tensors", name, partial(_tensors, name, oracle))
        yield Question("memory", name, partial(_memory, name, oracle))
        for batch in oracle.batches:
            ask, ask_again = (partial(act, name, oracle, batch) for act in (_outputs, _outputs_again))
            yield Question(f"outputs, {batch}", name, ask, ask_again, tuple(oracle.order))
    for name, oracle in small.items():
        for what, ask in (
            ("given embeddings", _embedded),
            ("odd tokens of experts", _mixtures),
            ("loss that balances experts", _balance),
            *zip(IN_BF16, (_dtypes, _bits), strict=True),
            ("gradients", _gradients),
            ("packed projections", _packed),
            ("what is left out", _left_out),
        ):
            ask_again = partial(_bits_again, name, oracle) if ask is _bits else None
            yield Question(what, name, partial(ask, name, oracle), ask_again, tuple(oracle.order))
    for name in sorted(cases, key=lambda one: not one.startswith(DROPOUT)):  # one field at a time first
        if name == "base" or name.startswith("dropout"):
            yield Question(TRAINING, name, partial(_training, name, cases[name]))


def _tensors(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    trial.model(name, oracle)
    return []


def _outputs(name: str, oracle: Oracle, batch: str, trial: Trial) -> list[Difference]:
    ours = trial.model(name, oracle)
    error = distance(oracle.measured.run(ours, batch), oracle.measured.logits[batch])
    if error <= oracle.measured.bound:
        return []
    return differences(ours, oracle, batch) or [Difference(NOWHERE, error)]


def _outputs_again(
    name: str, oracle: Oracle, batch: str, trial: Trial, before: Sequence[Difference]
) -> list[Difference]:
    return again(trial.model(name, oracle), oracle, batch, before)


def _bits_again(name: str, oracle: Oracle, trial: Trial, before: Sequence[Difference]) -> list[Difference]:
    return again(trial.model(name, oracle, dtype=torch.bfloat16), oracle, "plain", before, half=True)


def _embedded(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    return asked.embedded(trial.model(name, oracle), oracle.measured)


def _memory(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    ours = trial.model(name, oracle)
    mine, theirs = memory.names(ours), memory.names(oracle.reference.model)
    theirs = {name for name in theirs if name in mine or not is_ignored(ours, name)}
    if mine != theirs:
        raise Lacking(tuple(sorted(mine - theirs)), tuple(sorted(theirs - mine)), ())
    return asked.in_memory(ours, oracle.measured)


def _mixtures(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    ours = trial.model(name, oracle)
    tokens = {number: mixtures.tokens(one, EPSILONS) for number, one in mixtures.mixtures(ours).items()}
    found = failures(mixtures.compare(oracle.reference.model, ours, tokens))
    return [Difference(one.what, one.error) for one in found]


def _balance(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    return asked.balance(trial.model(name, oracle), oracle.measured)


def _dtypes(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    """What stays fp32, by its name on disk."""
    ours = trial.model(name, oracle, dtype=torch.bfloat16)
    theirs = {name: dtype for name, dtype in oracle.measured.dtypes.items() if not is_ignored(ours, name)}
    return [Difference(name) for name in sorted(dict(dtypes(ours).items() ^ theirs.items()))]


def _bits(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    """Components whose bits differ; where none does, the logits of a model without states."""
    ours = trial.model(name, oracle, dtype=torch.bfloat16)
    plain = oracle.batches["plain"]
    with torch.no_grad():
        mine, wanted = (one(**plain.inputs, use_cache=False).logits for one in (ours, oracle.reference.in_bf16))
    if torch.equal(mine, wanted):
        return []
    found = differences(ours, oracle, "plain", half=True)
    if plain.images and not same_features(ours, oracle.reference.in_bf16, plain):
        return [one for one in found if is_beside_projector(ours, one.where)]
    if not has_one_order(ours):
        return [one for one in found if has_one_order(ours.get_submodule(one.where))]
    return found or [Difference(NOWHERE, (mine != wanted).float().mean().item())]


def _gradients(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    ours = trial.model(name, oracle)
    found = [
        replace(one, where=one.where.removeprefix("gradient of ")) for one in asked.gradients(ours, oracle.measured)
    ]
    return [one for one in found if not is_ignored(ours, one.where)]


def _packed(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    model = trial.model(name, oracle, "packed")
    disk = kept(model, oracle.reference.disk)
    stored = failures(state_dict.compare(model, disk))
    return asked.packed(model, oracle.measured) or [Difference(one.note.split(" ")[0]) for one in stored]


def _left_out(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    return [Difference(lost) for lost in not_left_out(trial.model(name, oracle), oracle.reference)]


def _training(name: str, oracle: Oracle, trial: Trial) -> list[Difference]:
    return asked.training(trial.built(oracle).train(), oracle.measured)
