"""`codegen review` on prepared changes of a real git repository: a golden page for each."""

import os
import re
from pathlib import Path

import pytest

from codegen.errors import CodegenError
from codegen.places import HERE
from codegen.review import review
from codegen.run.pipeline import Options
from tests.codegen.explain.flowchart import read
from tests.codegen.review.repository import CHANGES, CODES, copied, git, started
from tests.codegen.scratch.project import Project

CASES = Path(__file__).parent / "cases"
UPDATE = "UPDATE_GOLDEN=1 pytest tests/codegen/review"
COMMIT = re.compile(r"`[0-9a-f]{12}`")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return started(tmp_path_factory.mktemp("review") / "tree")


@pytest.mark.parametrize("name", CHANGES)
def test_the_page(name, start, tmp_path):
    change = copied(start, tmp_path / "tree")
    CHANGES[name](change)
    found = review(Options(str(change.root)))
    text, golden = COMMIT.sub("`COMMIT`", found.text), CASES / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert golden.exists(), f"no {golden.name}: write it with {UPDATE}"
    assert text == golden.read_text(), f"{name} differs: look at it, then {UPDATE}"
    assert found.code == CODES.get(name, 0)
    for picture in text.split("```mermaid\n")[1:]:
        read(picture.partition("```")[0])


def test_it_is_the_same_twice_and_without_memory(start, tmp_path):
    change = copied(start, tmp_path / "tree")
    CHANGES["router"](change)
    found = review(Options(str(change.root)))
    assert found == review(Options(str(change.root))) == review(Options(str(change.root), cache=False))


def test_no_golden_page_is_left_over():
    assert {page.stem for page in CASES.glob("*.md")} == set(CHANGES)


def test_the_command_takes_a_base_and_says_what_is_wrong_with_it(start, tmp_path):
    change = copied(start, tmp_path / "tree")
    CHANGES["norm"](change)
    project = Project.__new__(Project)
    project.root, project.stub = change.root, False
    done = project.run("review", "--base", "HEAD~1")
    assert done.code == 0 and "| `norm.kind` | `rmsnorm` by default | `layernorm` |" in done.out and not done.err
    assert project.run("review", "--base", "main", "--json").json["markdown"].startswith("# What changes")
    assert "No spec differs" in project.run("review", "--base", "HEAD").out
    wrong = project.run("review", "--base", "no-such-branch")
    assert wrong.code == 2 and "there is no such commit" in wrong.err and not wrong.out
    option = project.run("review", "--base=--output=x")
    assert option.code == 2 and "there is no such commit" in option.err


def test_where_there_is_no_repository_or_no_default_branch(start, tmp_path):
    project = Project(tmp_path / "bare", stub=False)
    with pytest.raises(CodegenError, match="no git repository"):
        review(Options(str(project.root)))
    change = copied(start, tmp_path / "tree")
    git(change.root, "branch", "--quiet", "--delete", "--force", "main")
    with pytest.raises(CodegenError, match="no default branch.*--base"):
        review(Options(str(change.root)))


def test_a_tree_below_the_repository_is_reviewed_alike(start, tmp_path):
    root = tmp_path / "outer"
    root.mkdir()
    change = copied(start, root / "inner")
    (change.root / ".git").rename(tmp_path / "old")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "start")
    change.add("olmo2", "norm: layernorm")
    change.apply()
    found = review(Options(str(change.root)), "HEAD")
    golden = (CASES / "norm.md").read_text().splitlines()
    assert found.text.splitlines()[3:] == golden[3:]


def test_a_spec_that_was_wrong_at_the_base_stands_alone(start, tmp_path):
    change = copied(start, tmp_path / "tree")
    change.write("mistral", "name: mistral\nattention: {kind: gqaa}\n")
    git(change.root, "add", ".")
    git(change.root, "commit", "--quiet", "--message", "wrong")
    change.write("mistral", "name: mistral\n")
    change.apply()
    text = review(Options(str(change.root)), "HEAD").text
    assert "did you mean 'gqa'" in text and "cannot be compared" in text


def test_names_links_and_repositories_below_are_counted_like_files(start, tmp_path):
    change = copied(start, tmp_path / "tree")
    models = change.root / HERE.models
    (models / "a\tb\nc.py").write_text("x = 1\n")
    (models / "link").symlink_to("nowhere")
    (models / "loop").symlink_to("..")
    git(models, "init", "--quiet", "nested")
    (models / "nested/x.py").write_text("x = 1\n")
    text = review(Options(str(change.root)), "HEAD").text
    assert "a b c.py` (+1 −0)" in text and "link` (+1 −0)" in text and "loop` (+1 −0)" in text and "nested/`" in text
    (models / "nested/.git").rename(tmp_path / "gone")
    git(change.root, "add", ".")
    text = review(Options(str(change.root)), "HEAD").text
    assert "a b c.py` (+1 −0)" in text and "nested/x.py` (+1 −0)" in text


def test_specs_that_releases_leave_out_are_read_at_the_base(start, tmp_path):
    change = copied(start, tmp_path / "tree")
    (change.root / ".gitattributes").write_text("specs export-ignore\n")
    git(change.root, "add", ".")
    git(change.root, "commit", "--quiet", "--message", "attributes")
    assert "No spec differs" in review(Options(str(change.root)), "HEAD").text


def test_without_git_it_says_so(start, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CodegenError, match="git is not installed"):
        review(Options(str(start)))
