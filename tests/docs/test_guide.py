"""The guide's blocks, typed one after the other into a scratch copy of the tree, with the commands that are installed.

Set-up (`make`) is CI's own first step. What takes long there is proven for every family elsewhere in the suite, so a
quick run puts something shorter in its place, and forks what follows the first `python -m` from a process that has
imported what others wrote. `GUIDE_AS_TYPED=1 python -m pytest tests/docs/test_guide.py` runs it all.
"""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from tests.docs.newcomer import BLOCK, Newcomer, commands

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("specs", "codegen", "nemo_automodel", "tests", "examples", "docs", "pyproject.toml")
CONTRACT = 'python -m pytest -q -m "" tests/unit_tests/models/{name}'
IN_PLACE_OF = {
    "codegen parity arcee": "codegen list",  # the checkpoint's proof, which follows, has the same three levels
    "codegen parity arcee --sensitivity": "codegen check",
    "codegen parity llava_mistral": "codegen check",
    **{
        CONTRACT.format(name=name): f"test -f tests/unit_tests/models/{name}/test_{name}.py"
        for name in ("arcee", "llava_mistral")
    },
}
# Sharding is typed once, with the text model; that of images and text equals one process in tests/recipes/images.
SHARDED, ALONE = ("torchrun --nproc-per-node 2 -m", "python -m")
AGAIN = f"{SHARDED} nemo_automodel.recipes.finetune examples/vlm_finetune/"
DIFFERS = ("codegen diff",)  # exit code 1: there is something to apply
SPEC, MODEL = "specs/arcee.yaml", "nemo_automodel/components/models/arcee/model.py"


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    tree = tmp_path_factory.mktemp("guide")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tree / name)
    return Newcomer(tree)


def shortened(command: str) -> str:
    """What a quick run types in its place."""
    if command.startswith(AGAIN):
        return command.replace(SHARDED, ALONE)
    return IN_PLACE_OF.get(command, command)


def test_the_guide_as_a_newcomer_types_it(newcomer: Newcomer) -> None:
    before = newcomer.files()
    as_typed = bool(os.environ.get("GUIDE_AS_TYPED"))
    blocks = BLOCK.findall((ROOT / "docs" / "guide.md").read_text(encoding="utf-8"))
    assert [language for language, _ in blocks].count("bash") >= 8
    for language, text in blocks:
        if language == "python":
            newcomer.writes(re.match(r"# (\S+\.py)\n", text)[1], text)
        elif language == "yaml":
            newcomer.writes(f"specs/{re.search(r'^name: (.+)$', text, re.MULTILINE)[1]}.yaml", text)
        else:
            for command in commands(text):
                if shlex.split(command)[0] in ("make", "source"):
                    continue
                expected = 1 if command in DIFFERS else 0
                newcomer.types(command, expected) if as_typed else newcomer.types_quickly(shortened(command), expected)
    assert len((newcomer.tree / MODEL).read_text(encoding="utf-8").splitlines()) < 130  # "about a hundred lines"
    assert type(AutoModelForCausalLM.from_pretrained(newcomer.tree / "output/arcee")).__name__ == "ArceeForCausalLM"
    assert (newcomer.tree / "output/arcee-lora/adapter_model.safetensors").is_file()
    trained = newcomer.tree / "output/llava_mistral2"
    assert type(AutoModelForImageTextToText.from_pretrained(trained)).__module__.startswith("transformers.")
    assert type(AutoProcessor.from_pretrained(trained)).__name__ == "LlavaProcessor"
    mistaken(newcomer)
    for spec in (SPEC, "specs/llava_mistral.yaml"):
        (newcomer.tree / spec).unlink()
    newcomer.types("codegen apply")
    assert newcomer.files() == before


def mistaken(newcomer: Newcomer) -> None:
    """A misspelt word: position, mistake and cure, and nothing is written."""
    spec, before = (newcomer.tree / SPEC).read_text(encoding="utf-8"), newcomer.files()
    newcomer.writes(SPEC, spec.replace("plain", "plian"))
    said = newcomer.types("codegen apply", expected=2)
    assert f"{SPEC}:4:6: mlp.kind: 'plian' is not known; did you mean 'plain'" in said
    newcomer.writes(SPEC, spec)
    assert newcomer.files() == before


def test_commands_that_are_shortened_stand_in_the_guide() -> None:
    typed = [
        line
        for _, text in BLOCK.findall((ROOT / "docs" / "guide.md").read_text(encoding="utf-8"))
        for line in commands(text)
    ]
    assert set(IN_PLACE_OF) <= set(typed)
    assert [shortened(command) for command in typed if command.startswith(AGAIN)]
