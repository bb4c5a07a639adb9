"""A review in a repository that `codegen init` began, where nothing stands as it does here."""

import subprocess
import sys

from tests.codegen.review.repository import commit, git
from tests.codegen.scratch.project import environment


def test_a_tree_that_says_where_things_stand(tmp_path):
    def codegen(*arguments):
        command = [sys.executable, "-m", "codegen", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)

    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "0"\n')
    (tmp_path / ".gitignore").write_text(".codegen/\n")
    git(tmp_path, "init", "--quiet")
    codegen("init", "--package", "mine.models")
    codegen("apply")
    commit(tmp_path, "start")
    git(tmp_path, "switch", "--quiet", "--create", "change")
    (spec,) = (tmp_path / "specs").glob("*.yaml")
    spec.write_text(spec.read_text() + "norm: layernorm\n")
    codegen("apply")
    page = codegen("review").stdout
    assert f"| `{spec.stem}` | changed | **no round trip**: 3 new |" in page
    assert "| `norm.kind` | `rmsnorm` by default | `layernorm` |" in page
    assert f"- `mine/models/{spec.stem}/model.py` (+" in page and "whose specs are the same" not in page
