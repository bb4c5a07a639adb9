"""Where things stand below the root. Imports nothing but `os`: the fast path starts with it."""

import os

SPECS = "specs"
STATE_DIR = ".codegen"
REGISTRY = "nemo_automodel/_transformers/registry.py"
MODELS = "nemo_automodel/components/models"
MODEL_TESTS = "tests/unit_tests/models"
EXAMPLES = ("examples/llm_finetune", "examples/vlm_finetune")
COVERAGE = ("docs/model-coverage/llm", "docs/model-coverage/vlm")
DOCS_PAGES = tuple(f"{folder}/index.md" for folder in COVERAGE)

# Generated files may stand nowhere else, and what is no longer planned is looked for nowhere else.
OUTPUT_ROOTS = (MODELS, MODEL_TESTS, *EXAMPLES, *COVERAGE)


def find_root(start: str) -> str | None:
    """The nearest folder at or above `start` with a `specs` folder and a pyproject.toml or .git, or None."""
    folder = os.path.abspath(start)
    while True:
        marked = os.path.exists(os.path.join(folder, "pyproject.toml")) or os.path.exists(os.path.join(folder, ".git"))
        if marked and os.path.isdir(os.path.join(folder, SPECS)):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
