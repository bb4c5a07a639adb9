"""Losses, gradients, checkpoints and exports of models that are parallel, against one process; two starts in all."""

from pathlib import Path

from tests.forked import in_processes

SCRIPT = str(Path(__file__).with_name("matrix_run.py"))
ON_TWO = (
    *("compare:dense:tp=2", "compare:dense:pp=2", "compare:dense:cp=2"),
    *("compare:mixture:tp=2", "compare:mixture:ep=2", "compare:mixture:pp=2", "compare:mixture:cp=2"),
    *("compare:packed:tp=2", "compare:tied:tp=2", "compare:odd:tp=2", "compare:windows:cp=2"),
    *("export:dense:tp=2", "export:packed:tp=2", "export:tied:cp=2", "export:dense:pp=2"),
    *("export:mixture:ep=2", "export:mixture:pp=2"),
)
ON_FOUR = (
    *("compare:dense:dp_shard=2,tp=2", "compare:mixture:dp_shard=2,tp=2", "compare:mixture:dp_shard=2,ep=2"),
    *("compare:dense:dp_replicate=2,dp_shard=2", "compare:dense:dp_replicate=2,tp=2", "compare:mixture:ep=2,tp=2"),
    *("compare:dense:pp=2,tp=2", "compare:mixture:pp=2,ep=2", "compare:dense:pp=2,cp=2", "compare:mixture:cp=2,ep=2"),
    *("spread:dense:dp_shard=2,tp=2", "spread:mixture:dp_shard=2,ep=2", "spread:dense:pp=2,tp=2"),
    *("export:dense:dp_shard=2,tp=2", "export:mixture:dp_shard=2,ep=2", "export:mixture:pp=2,ep=2"),
    *("save:dense:dp_shard=2,tp=2", "save:mixture:pp=2,ep=2", "load:dense:pp=2,dp_shard=2", "load:mixture:dp_shard=4"),
)
ON_TWO_AGAIN = ("load:dense:tp=2", "load:dense:cp=2", "load:mixture:ep=2", "load:mixture:pp=2")


def test_two_processes_equal_one_and_four_whose_checkpoints_load_on_two(tmp_path: Path) -> None:
    in_processes(4, SCRIPT, str(tmp_path), *ON_FOUR, CUDA_VISIBLE_DEVICES="")
    in_processes(2, SCRIPT, str(tmp_path), *ON_TWO, *ON_TWO_AGAIN, CUDA_VISIBLE_DEVICES="")
