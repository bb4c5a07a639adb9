"""What a forked process runs ends as it would alone, and leaves nothing to the next."""

from pathlib import Path

from tests.forked import Forked


def test_each_run_has_its_own_folder_environment_output_and_end(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, sys, colorsys\n"
        "print(sys.argv[1], os.environ['WORD'], os.environ.get('RANK'), os.path.basename(os.getcwd()))\n"
        "sys.exit(sys.argv[1] == 'ends')\n"
    )
    (tmp_path / "other.py").write_text("import sys\nassert 'colorsys' not in sys.modules, 'left by another'\n1 / 0\n")
    forked = Forked(())
    assert forked.runs(["script.py", "goes"], folder=tmp_path, WORD="a") == (0, f"goes a None {tmp_path.name}\n")
    assert forked.runs(["script.py", "ends"], folder=tmp_path, WORD="b")[0] == 1
    code, said = forked.runs(["script.py", "on"], count=2, folder=tmp_path, WORD="c")
    assert code == 0 and sorted(said.splitlines()) == [f"on c {rank} {tmp_path.name}" for rank in range(2)]
    code, said = forked.runs(["other.py"], folder=tmp_path)
    assert code == 1 and "ZeroDivisionError" in said
