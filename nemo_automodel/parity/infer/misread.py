"""Fields of a config that change what transformers' class makes of a text, and of which a spec's model is another one:
every field that may do so is changed alone, whatever the spec says of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.trial import Lacking, Trial
from nemo_automodel.parity.project import Project
from nemo_automodel.parity.sandbox import installed

SECONDS = 120  # at most, for all fields of a family


@dataclass(frozen=True)
class Misread:
    """A changed config, by the field that was changed, and by how much the logits are apart there."""

    field: str
    error: float


def misread(project: Project, text: str) -> list[Misread]:
    """Of a spec's text. What the generated model refuses is not misread."""
    subject, name = project.subject(), f"specs/{project.spec.name}.yaml"
    candidate = Candidate.read(text, name)
    cases = Cases(subject, dict(project.configs["base"]), Budget(SECONDS))
    cases.change_alone(candidate, project.configs["base"])
    with installed(project.spec.name, candidate.files) as modules:
        trial = Trial(subject, modules)
        return [*_apart(trial, cases)]


def _apart(trial: Trial, cases: Cases) -> Iterator[Misread]:
    for case, oracle in cases.oracles.items():
        try:
            error = _error(trial, case, oracle)
        except (ValueError, Lacking):  # refused: the config, or a checkpoint of it
            continue
        if error > oracle.measured.bound:
            yield Misread(case.removeprefix("field_"), error)


def _error(trial: Trial, case: str, oracle: Oracle) -> float:
    model, measured = trial.model(case, oracle), oracle.measured
    return max(distance(measured.run(model, batch), measured.logits[batch]) for batch in oracle.batches)
