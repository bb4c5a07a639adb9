"""The real command."""

import json
import subprocess
import sys

import pytest

from tests.codegen.new.checkpoints import checkpoint, expanded
from tests.codegen.scratch.project import INDEX, REPOSITORY, Project, environment

CONFIG = {
    **{"model_type": "brandnew", "architectures": ["BrandNewForCausalLM"], "hidden_size": 64, "vocab_size": 100},
    **{"intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2},
    **{"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 128, "rope_theta": 10000.0},
}
LAYER = {
    **{"self_attn.q_proj": [64, 64], "self_attn.k_proj": [32, 64], "self_attn.v_proj": [32, 64]},
    **{"self_attn.o_proj": [64, 64], "mlp.gate_proj": [160, 64], "mlp.up_proj": [160, 64], "mlp.down_proj": [64, 160]},
    **{"input_layernorm": [64], "post_attention_layernorm": [64]},
}
TENSORS = {
    **expanded({f"model.layers.{{layer}}.{name}.weight": shape for name, shape in LAYER.items()}, 2),
    **{"model.embed_tokens.weight": [100, 64], "model.norm.weight": [64], "lm_head.weight": [100, 64]},
}


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "tree", stub=False)
    made.write("specs/llama.yaml", "name: llama\n")
    made.write(INDEX, (REPOSITORY / INDEX).read_text())
    checkpoint(tmp_path / "checkpoint", CONFIG, TENSORS)
    return made


def test_a_draft_applies(project):
    source = str(project.root.parent / "checkpoint")
    result = project.run("new", source, "--draft", "--json")
    assert result.code == 0, result.err
    told = result.json
    assert (told["command"], told["exit_code"], told["kind"], told["written"]) == ("new", 0, "dense", True)
    assert told["proven"] is False
    assert told["nearest"] == "specs/llama.yaml" and told["text"] == project.read("specs/brandnew.yaml")
    assert project.run("apply").code == 0
    promised = [path for path in told["files"] if not path.endswith("(entries)")]
    assert promised and all((project.root / path).is_file() for path in promised)
    assert "class BrandNewForCausalLM" in project.read("nemo_automodel/components/models/brandnew/model.py")
    again = project.run("new", source, "--draft")
    assert again.code == 2 and "exists already" in again.err and again.out == ""
    assert project.run("new", source, "--draft", "--force").code == 2


def test_what_transformers_has_no_class_of_is_drafted(project):
    result = project.run("new", str(project.root.parent / "checkpoint"))
    assert result.code == 0
    assert "transformers" in result.err and "nothing can prove the spec; this is a draft" in result.err
    assert "Wrote: specs/brandnew.yaml" in result.out


def test_stdout_writes_nothing(project):
    before = project.contents()
    result = project.run("new", str(project.root.parent / "checkpoint"), "--draft", "--stdout", "--name", "mine")
    assert result.code == 0 and "name: mine\n" in result.out and "Nearest: specs/llama.yaml" in result.err
    assert project.contents() == before


def test_a_refusal_in_json(project):
    result = project.run("new", str(project.root / "nowhere"), "--draft", "--json")
    assert result.code == 2 and set(result.json) == {"command", "exit_code", "error", "problems"}


def test_the_same_in_every_process(project):
    command = [
        sys.executable,
        "-m",
        "codegen",
        "new",
        str(project.root.parent / "checkpoint"),
        "--draft",
        "--stdout",
        "--json",
    ]
    seen = set()
    for seed in ("0", "1"):
        run = subprocess.run(
            [*command, "--root", str(project.root)],
            **{"cwd": REPOSITORY, "env": environment(PYTHONHASHSEED=seed), "capture_output": True, "check": True},
        )
        seen.add(json.dumps(json.loads(run.stdout), sort_keys=True))
    assert len(seen) == 1


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from codegen import new, explain;"
        "print(sorted({'torch', 'transformers', 'nemo_automodel', 'safetensors', 'yaml'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
