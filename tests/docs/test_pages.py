"""Every command that a page shows is run: here, page by page, or by the test or script that `ELSEWHERE` names.

The comment `# needs NAME` on a command says what a machine may lack: a package (its command runs where that is
installed), or `the hub` (a tiny checkpoint on the disk takes its place).
"""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.newcomer import BLOCK, Newcomer, commands
from tests.forked import RECIPE

ROOT = Path(__file__).resolve().parents[2]
TYPED = ("recipes.md", "clients.md", "backends.md")  # in this order: the later ones go on from the first
ELSEWHERE = {
    "docs/guide.md": "tests/docs/test_guide.py",
    "docs/training.md": "tests/docs/test_training.py",
    "docs/parallel.md": "tests/recipes/parallel/test_launch.py",
}
COMMANDS_ELSEWHERE = {
    "make try": ".ci/run",
    "make test": ".ci/run",
    "source .venv/bin/activate": "tests/docs/newcomer.py",
    "pre-commit install": "tests/codegen/precommit",
    "pip install": "tests/distributions/test_elsewhere.py",
    "codegen init --package mine.models": "tests/distributions/test_elsewhere.py",
    "codegen apply": "tests/docs/test_guide.py",
    "codegen diff": "tests/docs/test_guide.py",
    "python -m tests.random_specs": "tests/random_specs",
    "python -m pytest -m": "tests/docs/test_guide.py",
}
NEEDS = re.compile(r"\s+# needs (.+)$")
IMPORTED = (
    *RECIPE,
    "nemo_automodel.components.models.llama.model",
    "torch.distributed.fsdp",
    "peft",
)
TINY = ("model.pretrained_model_name_or_path=checkpoints/gemma2", "dataset.sequence_length=32", "trainer.max_steps=1")
GEMMA2 = """
from transformers import Gemma2Config, Gemma2ForCausalLM
sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)
Gemma2ForCausalLM(Gemma2Config(vocab_size=64, head_dim=16, **sizes)).save_pretrained("checkpoints/gemma2")
"""


def pages() -> dict[str, str]:
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def shown(text: str) -> list[str]:
    return [line for language, block in BLOCK.findall(text) if language == "bash" for line in commands(block)]


def needs(command: str) -> str | None:
    found = NEEDS.search(command)
    return found and found[1]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    tree = tmp_path_factory.mktemp("pages")
    for name in ("examples", "docs", "tests", "nemo_automodel", "codegen"):
        (tree / name).symlink_to(ROOT / name)
    return Newcomer(tree, IMPORTED)


def types(newcomer: Newcomer, command: str) -> None:
    first, *rest = shlex.split(NEEDS.sub("", command))
    count = 1
    if first == "torchrun":
        assert rest[0] == "--nproc-per-node"
        count, rest = int(rest[1]), rest[2:]
    elif first == "automodel-finetune":  # what it starts for several processes
        at = rest.index("--nproc-per-node")
        count, rest = int(rest[at + 1]), ["-m", "nemo_automodel.recipes.finetune", *rest[:at], *rest[at + 2 :]]
    else:
        assert first == "python", command
    code, said = newcomer.imported.runs(rest, count, newcomer.tree, HF_HUB_OFFLINE="1")
    assert code == 0, f"{command}\n{said[-4000:]}"


def test_pages_as_a_reader_types_them(newcomer: Newcomer) -> None:
    for page in TYPED:
        for language, block in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
            if language == "python":
                newcomer.writes(re.match(r"# (\S+\.py)\n", block)[1], block)
            for command in commands(block) if language == "bash" else ():
                package = needs(command)
                if package is None or find_spec(package) is not None:
                    types(newcomer, command)
    assert (newcomer.tree / "output/text/checkpoint-6").is_dir()
    assert (newcomer.tree / "output/lora/adapter_model.safetensors").is_file()


def test_the_readmes_training_with_a_checkpoint_of_the_disk(newcomer: Newcomer) -> None:
    newcomer.writes("gemma2.py", GEMMA2)
    types(newcomer, "python gemma2.py")
    asked = [command for command in shown(pages()["README.md"]) if needs(command) == "the hub"]
    assert len(asked) == 2
    for command in asked:
        types(newcomer, shlex.join([*shlex.split(NEEDS.sub("", command)), *TINY]))


def test_no_command_is_left_out() -> None:
    typed = {f"docs/{page}" for page in TYPED} | ELSEWHERE.keys()
    for page, text in pages().items():
        left = [one for one in shown(text) if page not in typed and needs(one) is None]
        assert [one for one in left if not one.startswith(tuple(COMMANDS_ELSEWHERE))] == [], page
    assert [place for page, place in ELSEWHERE.items() if page in pages() and not (ROOT / place).exists()] == []
    assert [place for place in COMMANDS_ELSEWHERE.values() if not (ROOT / place).exists()] == []


def test_few_commands_need_something() -> None:
    found = {needs(command) for text in pages().values() for command in shown(text)} - {None}
    assert found == {"the hub", "trl", "lm_eval"}


def test_the_table_of_backends_is_whole() -> None:
    from nemo_automodel.components.models.common.backend import CHOICES

    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", pages()["docs/backends.md"], re.MULTILINE)
    table = {field: set(re.findall(r"`(\w+)`", values)) for field, values in rows if field in CHOICES}
    assert table == {field: set(values) - {"auto", None} for field, values in CHOICES.items()}
