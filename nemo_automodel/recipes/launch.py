"""Fine-tunes as an example YAML says, in this process or in several that are started here (torchrun).

    automodel-finetune examples/llm_finetune/llama/llama.yaml trainer.max_steps=100
    automodel-finetune examples/llm_finetune/llama/llama.yaml --nproc-per-node 2 parallel.tp=2
    automodel-finetune llama.yaml --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host:29500

Exit codes are those of the recipe: 0 it trained and saved, 2 the YAML or an override is wrong; of a process that a
signal ended 128 and the signal.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from nemo_automodel.recipes.command import parser

PROGRAM, MODULE = "automodel-finetune", "nemo_automodel.recipes.finetune"
COUNTS = {
    "--nproc-per-node": "processes on this machine: a number, or gpu for one on each",
    "--nnodes": "machines; each runs this command",
}
MEETING = {
    "--node-rank": "the number of this machine, where they meet at --master-addr",
    "--master-addr": "where the machines meet",
    "--master-port": "and its port",
    "--rdzv-backend": "how they meet, such as c10d",
    "--rdzv-endpoint": "where, as HOST:PORT",
    "--rdzv-id": "the name of this run, equal on all",
}


def main(argv: list[str] | None = None) -> int:
    """Run the recipe, in as many processes as are asked for; gives the exit code."""
    launching = _launching()
    options, rest = launching.parse_known_args(argv)
    parser(PROGRAM, __doc__, [launching]).parse_intermixed_args(argv)  # whose mistakes are said once, and here
    said = {name: value for name, value in vars(options).items() if value is not None}
    if said.get("nproc_per_node", "1") == said.get("nnodes", "1") == "1":
        return _here(rest)
    return _in_processes(said, rest)


def _launching() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = made.add_argument_group("processes", "as of torchrun")
    for name, text in {**COUNTS, **MEETING}.items():
        spelled = (name, f"--{name[2:].replace('-', '_')}")  # torchrun takes both
        group.add_argument(*dict.fromkeys(spelled), help=text, metavar="VALUE")
    return made


def _here(rest: Sequence[str]) -> int:
    from nemo_automodel.recipes import finetune

    if (folder := os.getcwd()) not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does: --dataset-module may lie there
    return finetune.main(list(rest))


def _in_processes(said: dict[str, str], rest: Sequence[str]) -> int:
    """The exit code of the process that failed first, or 0. A signal, such as that of Ctrl-C, ends all of them."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    options = [f"--{name.replace('_', '-')}={value}" for name, value in said.items()]
    meets = any(name not in ("nproc_per_node", "nnodes") for name in said)
    alone = [] if meets or said.get("nnodes", "1") != "1" else ["--standalone"]
    try:
        run(parse_args([*alone, *options, "-m", MODULE, *rest]))
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main())
