"""Of words that no question tells apart, those with which more is the reference's own to the bit, gradients too."""

from collections.abc import Iterator
from typing import Any

import torch

from codegen.language.keys import key_of, keys
from codegen.language.mlp import Router
from codegen.language.spec import Spec
from codegen.new.body import Body
from nemo_automodel.parity.components import measure
from nemo_automodel.parity.counterparts import counterparts
from nemo_automodel.parity.infer.below import keys_below
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.combined import RENORMALIZE
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.trial import Trial
from nemo_automodel.parity.mutant import Path, put
from nemo_automodel.parity.mutations import OVERLAYS
from nemo_automodel.parity.sandbox import installed
from nemo_automodel.parity.sensitivity import is_dtype_key
from nemo_automodel.parity.subject import Subject

BATCH = "plain"
SECTIONS = ("norm", "rope", "attention", "mlp", "head")
ORDER, SCORE = ("mlp", "router", "order"), (
    "mlp",
    "router",
    "score",
)  # of the choice of experts and what becomes of their scores


class Bits:
    """What of a reference's numbers a candidate has to the bit: outputs of components, and gradients there."""

    def __init__(self, subject: Subject, name: str, oracle: Oracle) -> None:
        self.subject, self.name, self.oracle = subject, name, oracle
        self._theirs: dict[tuple[bool, tuple[str, ...]], tuple[Any, dict[str, torch.Tensor]]] = {}

    def alike(self, candidate: Candidate) -> set[str]:
        """Names of them, in fp32 and in bf16; none where the candidate cannot be run."""
        try:
            with installed(self.name, candidate.files) as modules:
                trial = Trial(self.subject, modules)
                return {f"{half}: {one}" for half in (False, True) for one in self._alike(trial, half)}
        except Exception:  # a wrong spec may fail in any way
            return set()

    def _alike(self, trial: Trial, half: bool) -> Iterator[str]:
        ours = trial.built(self.oracle, dtype=torch.bfloat16 if half else torch.float32)
        batch, reference = self.oracle.batches[BATCH], self.oracle.model(half)
        for paths in counterparts(ours, reference, batch):
            key = half, tuple(paths)
            if key not in self._theirs:
                self._theirs[key] = measure(reference, paths, batch)
            given, theirs = self._theirs[key]
            _, mine = measure(ours, paths, batch, given)
            yield from (name for name, value in theirs.items() if name in mine and torch.equal(mine[name], value))


def roundings(candidate: Candidate) -> Iterator[tuple[str, Candidate]]:
    """The other way to a sum of one over the chosen experts; and every dtype of the catalog where the candidate
    says or leaves open another one."""
    if candidate.body.get(*RENORMALIZE) is True:
        yield from _chosen_first(candidate)
    for prefix in ((), *_overlays(candidate)):
        said = candidate.body.section(*prefix)
        for section in SECTIONS if not prefix else [name for name in SECTIONS if name in said]:
            for path, key in keys_below((section,), keys(Spec).get(section), said):
                if key.type == "choice" and is_dtype_key(str(path[-1])):
                    now = candidate.body.get(*prefix, *path) or key.words[0]
                    for word in key.words:
                        if word != now:
                            yield _with(candidate, (*prefix, *path), word)


def _chosen_first(candidate: Candidate) -> Iterator[tuple[str, Candidate]]:
    """Experts chosen before their scores are a softmax, of which the sum is one; where the config tells the scores,
    what makes one of the sum of others too."""
    less = Body.copied(candidate.data)
    less.drop(*RENORMALIZE)
    yield _with(candidate.with_(less.content), ORDER, "topk_first")
    said = str(candidate.body.get(*SCORE))
    for word in key_of(Router, SCORE[-1]).words[1:] if "config." in said else ():
        condition = f"{said} == {word!r}"
        what, other = _with(candidate.with_(put(candidate.data, RENORMALIZE, {"when": condition})), ORDER, "topk_first")
        yield f"{what} and sums of one where {condition}", other


def _with(candidate: Candidate, path: Path, word: Any) -> tuple[str, Candidate]:
    return f"{'.'.join(map(str, path))}: {word}", candidate.with_(put(candidate.data, path, word))


def _overlays(candidate: Candidate) -> Iterator[Path]:
    """Paths of what stands for some layers or models."""
    for path, _ in candidate.body.leaves():
        for end in range(1, len(path)):
            if path[0] in OVERLAYS and path[end] in SECTIONS and (end == 1 or path[end - 1] not in SECTIONS):
                yield path[:end]
                break
