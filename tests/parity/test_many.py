"""Several families by one command: all are tried, progress is told, and the end says what was not proven."""

from concurrent.futures import Executor, Future

import pytest

from nemo_automodel.parity import many
from nemo_automodel.parity.__main__ import main
from nemo_automodel.parity.many import run_many

CODES = {"good": 0, "bad": 1, "broken": 2, "newer": 4}


def one(arguments):
    name, *rest = arguments
    print(f"{name} with {' '.join(rest)}")
    return CODES[name]


class Here(Executor):
    """In this process: another takes seconds to start."""

    def __init__(self, *_):
        pass

    def submit(self, call, *arguments):
        run = Future()
        run.set_result(call(*arguments))
        return run


@pytest.mark.parametrize(
    ("names", "code", "ending"),
    [
        (["good", "newer"], 0, ["1 of 2 families are proven", "newer than the installed transformers: newer"]),
        (["crashes", "good"], 3, ["KeyError: 'crashes'", "1 of 2 families are proven", "not proven: crashes"]),
        (["bad", "good", "newer", "broken"], 2, ["1 of 4 families are proven", "not proven: bad, broken"]),
    ],
)
def test_all_are_tried_and_the_end_says_what_failed(names, code, ending, capsys, monkeypatch):
    if "crashes" not in names:
        monkeypatch.setattr(many, "ProcessPoolExecutor", Here)
        monkeypatch.setattr(many, "as_completed", list)
    assert run_many(one, names, ["--root", "."], 1) == code
    said = capsys.readouterr().out
    assert all(f"{name} with --root .\n" in said for name in names)
    assert all(f"\n== {number} of {len(names)}: {name}" in said for number, name in enumerate(names, 1))
    assert set(ending) <= set(said.splitlines())


@pytest.mark.parametrize("arguments", [[], ["llama", "qwen2", "--json"], ["--all", "--workers", "0"]])
def test_what_does_not_go_together_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "name specs, or --all" in capsys.readouterr().err
