"""Many families by one command, several at a time: what each would print by itself, then what was not proven."""

import io
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from time import monotonic

BROKEN = 3  # exit code of a family whose proof ended with an error of its own
NEWER = 4  # exit code of a family that the installed transformers does not have
Command = Callable[[list[str]], int]


def run_many(one: Command, names: Sequence[str], rest: Sequence[str], workers: int) -> int:
    """Runs `one([name, *rest])` for every name, in processes that live on. The exit code is the worst of theirs.

    Families that are newer than the installed transformers are told, and fail nothing.
    """
    codes: dict[str, int] = {}
    start = monotonic()
    with ProcessPoolExecutor(min(workers, len(names)), get_context("spawn")) as pool:
        runs = {pool.submit(_captured, one, [name, *rest]): name for name in names}
        for run in as_completed(runs):
            name = runs[run]
            codes[name], text = run.result()
            print(text.rstrip("\n"))
            print(
                f"== {len(codes)} of {len(names)}: {name}, exit code {codes[name]}, {monotonic() - start:.0f} s",
                flush=True,
            )
    print(_summary(codes))
    return max((code for code in codes.values() if code != NEWER), default=0)


def _captured(one: Command, arguments: list[str]) -> tuple[int, str]:
    """Its exit code and what it said, in a process of the pool."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            code = one(arguments)
        except Exception:  # of one family: the others are proven all the same
            traceback.print_exc()
            code = BROKEN
    return code, said.getvalue()


def _summary(codes: dict[str, int]) -> str:
    newer = sorted(name for name, code in codes.items() if code == NEWER)
    failed = sorted(name for name, code in codes.items() if code not in (0, NEWER))
    lines = [f"{len(codes) - len(newer) - len(failed)} of {len(codes)} families are proven"]
    lines += [f"newer than the installed transformers: {', '.join(newer)}"] if newer else []
    lines += [f"not proven: {', '.join(failed)}"] if failed else []
    return "\n".join(lines)
