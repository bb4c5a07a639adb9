"""A fixed sample of mutated specs; `python -m tests.codegen.fuzz.run` judges as many as one likes."""

import pytest

from codegen.memory import formatted
from codegen.memory.store import Store
from tests.codegen.fuzz import run

SAMPLE = range(5000, 5250)


@pytest.fixture(autouse=True)
def unformatted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formatted, "_active", [run._Unformatted(Store(None))])


def test_every_mutant_is_accepted_or_refused_with_place_key_and_cure() -> None:
    judged = list(run.watched(iter(SAMPLE), run.in_process))
    assert [one for one in judged if one[1] not in ("accepted", "refused")] == []
    kinds = [kind for _, kind, _ in judged]
    assert kinds.count("accepted") > 10 and kinds.count("refused") > 100


@pytest.mark.parametrize("text", ["name: llama\nattention: {zzz: 1}\n", "name: [\n", "a: 1\n"])
def test_a_refusal_is_no_finding(text: str) -> None:
    assert run.outcome("llama", text)[0] == "refused"


def test_a_message_of_another_form_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FORM", run.re.compile("nothing"))
    assert run.outcome("llama", "a: 1\n")[0] == "form"


def test_an_exception_and_a_run_without_end_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(seed: int) -> tuple[str, str]:
        while seed == 1:
            continue
        if seed == 2:
            run.os._exit(1)
        return "accepted", ""

    monkeypatch.setattr(run, "SECONDS", 0.5)
    assert [kind for _, kind, _ in run.watched(iter(range(4)), judge)] == ["accepted", "hang", "died", "accepted"]
    monkeypatch.setattr(run, "read_text", lambda text, shown: 1 / 0)
    assert run.outcome("llama", "")[0] == "traceback"
