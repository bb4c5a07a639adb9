"""The GitHub Action: its shell steps, as its file has them, run in a scratch repository as GitHub runs them."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.codegen.review.repository import CHANGES, copied, git, started
from tests.codegen.scratch.project import REPOSITORY, environment

ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"] if "run" in step}
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # what `shell: bash` means there


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return started(tmp_path_factory.mktemp("action") / "tree", ("llama", "olmo2"))


@pytest.fixture
def bin_folder(tmp_path):
    """`codegen` of this tree, and a `python` that writes down what it is asked to do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    run = f'#!/bin/sh\nexec "{sys.executable}" -m codegen "$@"\n'
    note = f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/asked"\n'
    for name, text in (("codegen", run), ("python", note)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def stepped(name, root, bin_folder, **expressions):
    """One step, with the values that GitHub would put in the place of expressions; its code, and the summary."""
    step, summary = STEPS[name], bin_folder.parent / "summary.md"
    summary.touch()
    given = {key: expressions[re.fullmatch(r"\$\{\{ (.*) \}\}", text)[1]] for key, text in step.get("env", {}).items()}
    variables = environment(**given, GITHUB_STEP_SUMMARY=str(summary), GITHUB_ACTION_PATH=str(REPOSITORY))
    variables["PATH"] = f"{bin_folder}{os.pathsep}{variables['PATH']}"
    script = bin_folder.parent / "script.sh"
    script.write_text(step["run"])
    done = subprocess.run([*BASH, script], cwd=root, env=variables, capture_output=True, text=True, check=False)
    return done, summary.read_text()


BASE = "inputs.base || github.event.pull_request.base.sha"


def reviewed(root, bin_folder, base, where="."):
    return stepped("Review", root, bin_folder, **{BASE: base, "inputs.root": where})


def checked(root, bin_folder):
    return stepped("Check", root, bin_folder, **{"inputs.root": "."})[0]


def test_a_change_is_posted(start, tmp_path, bin_folder):
    change = copied(start, tmp_path / "tree")
    CHANGES["norm"](change)
    done, summary = reviewed(change.root, bin_folder, git(change.root, "rev-parse", "main").strip())
    assert done.returncode == 0, done.stderr
    assert summary.startswith("# What changes in the models") and "`norm.kind`" in summary
    assert checked(change.root, bin_folder).returncode == 0


def test_without_a_pull_request_it_compares_with_the_default_branch(start, tmp_path, bin_folder):
    change = copied(start, tmp_path / "tree")
    CHANGES["removed"](change)
    done, summary = reviewed(tmp_path, bin_folder, "", where="tree")
    assert done.returncode == 0 and "where this left `main`" in summary and "`olmo2`: removed" in summary


def test_a_checkout_of_one_commit_fetches_the_base(start, tmp_path, bin_folder):
    change = copied(start, tmp_path / "origin")
    CHANGES["norm"](change)
    base = git(change.root, "rev-parse", "main").strip()
    git(change.root, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{change.root}", "clone")
    done, summary = reviewed(tmp_path / "clone", bin_folder, base)
    assert done.returncode == 0, done.stderr
    assert "`norm.kind`" in summary


@pytest.mark.parametrize(("name", "code"), [("drift", 1), ("wrong_spec", 2), ("hand_edit", 3)])
def test_what_is_wrong_is_posted_and_fails(name, code, start, tmp_path, bin_folder):
    change = copied(start, tmp_path / "tree")
    CHANGES[name](change)
    done, summary = reviewed(change.root, bin_folder, "main")
    assert done.returncode == code and summary.startswith("# What changes in the models")
    assert checked(change.root, bin_folder).returncode == code


def test_a_base_that_is_not_there_fails_and_runs_nothing(start, tmp_path, bin_folder):
    change = copied(start, tmp_path / "tree")
    for base in ("no-such-branch", f"--upload-pack=touch {tmp_path}/run", f"$(touch {tmp_path}/run)"):
        done, summary = reviewed(change.root, bin_folder, base)
        assert done.returncode != 0 and not summary and not (tmp_path / "run").exists()


def test_the_generator_is_installed_from_the_action(tmp_path, bin_folder):
    done, _ = stepped("Install the generator", tmp_path, bin_folder)
    assert done.returncode == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:3] == ["-m", "pip", "install"] and asked[-1] == str(REPOSITORY)


def test_no_expression_stands_in_a_script():
    assert all("${{" not in step["run"] for step in STEPS.values())
    used = {name for step in ACTION["runs"]["steps"] for name in re.findall(r"inputs\.([\w-]+)", str(step))}
    assert used == ACTION["inputs"].keys()


def test_it_goes_on_to_check_whatever_the_review_said():
    assert STEPS["Check"]["if"] == "${{ !cancelled() }}" and list(STEPS) == ["Install the generator", "Review", "Check"]
