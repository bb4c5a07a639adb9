"""What a spec's tests have to be told of its reference: by which attention, and that about each text alone it is asked,
how many experts a token has whatever the config says, and published flags that its default config has otherwise."""

from collections.abc import Iterator
from dataclasses import replace

from codegen.language.keys import keys
from codegen.language.mlp import Experts
from nemo_automodel.parity.infer.attending import DEFAULT
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.judge import Judge, Stop
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.mutant import put

TOP_K = [one.removeprefix("config.") for one in keys(Experts)["top_k"].chain]
PADDED = "outputs, left"
ALONE = "the reference makes something else of a text when others of the batch are longer"


def alone(candidate: Candidate, stop: Stop, cases: Cases, judge: Judge) -> Candidate | None:
    """The candidate, judged from now on by answers to each text alone; None where padding is not what differs."""
    if type(candidate) is not Candidate or stop.what != PADDED:  # models of images and text mask what is padded
        return None
    if cases.base is None or cases.subject.positions == "alone":
        return None
    subject = replace(cases.subject, positions="alone")
    found = Judge(subject, judge.name, {"base": Oracle(subject, cases.oracles[stop.case].values)}).stop(candidate)
    if found is not None and found.what == PADDED:
        return None
    data = put(put(candidate.data, ("tests", "positions"), "alone"), ("tests", "why"), ALONE)
    cases.restart(subject)
    return Candidate(data, candidate.path)


def attended(candidate: Candidate, cases: Cases, judge: Judge) -> Candidate | None:
    """The candidate, judged from now on by what transformers runs by default, where that is another model than eager
    attention; None where it is not."""
    if type(candidate) is not Candidate or not cases.are_apart:
        return None
    judge.subject = replace(cases.subject, attention=DEFAULT)
    cases.restart(judge.subject)
    return Candidate(put(candidate.data, ("tests", "attention"), DEFAULT), candidate.path)


def counted(candidate: Candidate, cases: Cases) -> Candidate | None:
    """The candidate, judged from now on by configs that say how many experts the class takes by itself; None where it
    takes as many as they say."""
    if type(candidate) is not Candidate or candidate.problems or cases.base is None:
        return None
    counts = {one.indices.shape[1] for one in cases.base.routing("plain").values()}
    name = next((one for one in TOP_K if candidate.config.has(one)), None)
    said = cases.base.reference.config.to_dict().get(str(name))
    if len(counts) != 1 or type(said) is not int or said in counts or candidate.body.get("tests", "tiny", name):
        return None
    cases.restart(cases.subject)
    return Candidate(put(candidate.data, ("tests", "tiny", str(name)), counts.pop()), candidate.path)


def pinned(candidate: Candidate, cases: Cases, judge: Judge) -> Candidate:
    """With the published flags and numbers that nothing reads, where the class's own would be another model."""
    if type(candidate) is not Candidate:
        return candidate
    data = candidate.data
    for name, value in _apart(candidate, cases):
        data = data if _is_right(candidate, name, cases, judge) else put(data, ("tests", "tiny", name), value)
    return Candidate(data, candidate.path)


def _apart(candidate: Candidate, cases: Cases) -> Iterator[tuple[str, int]]:
    """Those of the first config that a spec's tests do not choose by themselves."""
    base, own = (cases.base.values if cases.base is not None else {}), candidate.configs()["base"]
    kept = cases.kept(candidate).items()
    yield from ((name, value) for name, value in kept if base.get(name) == value and name not in own)


def _is_right(candidate: Candidate, name: str, cases: Cases, judge: Judge) -> bool:
    """Whether the candidate is right where a field is as the class has it by itself, and where nothing can be asked."""
    assert cases.base is not None
    try:
        oracle = Oracle(cases.subject, cases.base.values | {name: candidate.config.fields[name]})
        return Judge(cases.subject, judge.name, {"base": oracle}).stop(candidate) is None
    except Exception:  # the reference refuses it beside the other values
        return True
