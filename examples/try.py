"""The whole path in a minute: one line more in a spec, the diff that it makes, and the proof of the model.

Run it with `make try`. It works on a scratch copy; the checkout stays as it is.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from nemo_automodel import NeMoAutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("specs", "nemo_automodel", "tests", "examples", "docs", "pyproject.toml")
LINE = "attention: {qk_norm: head}  # normalise every head's queries and keys\n"


def main() -> None:
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        regenerate(Path(folder, "tree"))
        checkpoint = Path(folder, "checkpoint")
        load(checkpoint)
        title("codegen parity llama: the same checkpoint, against transformers")
        codegen("parity", "llama", "--checkpoint", str(checkpoint))


def regenerate(tree: Path) -> None:
    """Add a line to a copy of llama's spec and show what `codegen` makes of it."""
    tree.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    spec = tree / "specs" / "llama.yaml"
    title("specs/llama.yaml, with one line more")
    spec.write_text(spec.read_text(encoding="utf-8") + LINE, encoding="utf-8")
    print(spec.read_text(encoding="utf-8"))
    title("codegen diff: what that line changes")
    codegen("diff", "--root", str(tree), expected=1)
    title("codegen apply, and once more")
    codegen("apply", "--root", str(tree))
    codegen("apply", "--root", str(tree))


def load(checkpoint: Path) -> None:
    """Load a tiny random checkpoint, written by transformers, with our class, and generate from it."""
    title("a tiny random checkpoint from transformers, loaded with NeMoAutoModelForCausalLM")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=128, num_hidden_layers=2, **sizes)).save_pretrained(checkpoint)
    model = NeMoAutoModelForCausalLM.from_pretrained(checkpoint)
    print(f"{type(model).__module__}.{type(model).__name__}")
    prompt = torch.tensor([[1, 2, 3]])
    print("generated:", model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0).tolist()[0])


def codegen(*arguments: str, expected: int = 0) -> None:
    """Run the command; its output goes to the terminal."""
    done = subprocess.run([sys.executable, "-m", "codegen", *arguments], cwd=ROOT, check=False)
    if done.returncode != expected:
        sys.exit(f"codegen {' '.join(arguments)}: exit code {done.returncode}, expected {expected}")


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
