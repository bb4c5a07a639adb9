"""`python -m nemo_automodel.parity`: its exit codes and its JSON."""

import json
import shutil

import pytest
import transformers
from safetensors.torch import load_file, save_file

from codegen.places import HERE
from codegen.run.pipeline import Options, check
from codegen.run.proofs import RECORD, fingerprint, parsed
from nemo_automodel.parity.__main__ import main
from nemo_automodel.parity.proof import compare
from nemo_automodel.parity.record import record
from nemo_automodel.parity.subject import named_reference
from tests.parity.conftest import ROOT


@pytest.fixture
def checkpoint(reference, tmp_path):
    reference.save(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    code = main(["llama", "--root", str(ROOT), *map(str, arguments)])
    return code, capsys.readouterr()


def test_a_checkpoint_is_proven(capsys, checkpoint):
    code, output = run(capsys, "--checkpoint", checkpoint, "--json")
    document = json.loads(output.out)
    assert code == 0
    assert document["passed"]
    assert document["first_difference"] is None
    assert {result["backend"] for result in document["results"]} == {"split", "packed"}
    levels = {check["level"].partition(",")[0] for result in document["results"] for check in result["checks"]}
    assert levels == {"state dict", "memory", "components", "end to end", "components in bf16", "bf16"}


def test_the_record_keeps_what_was_found(reference, tmp_path):
    subject = reference.subject
    results = [compare(subject, reference, "base", backend) for backend in ("split", "packed")]
    shutil.copytree(ROOT / HERE.models / "llama", tmp_path / HERE.models / "llama")
    record(tmp_path, "llama", results)
    proven = parsed((tmp_path / f"docs/model-coverage/{RECORD}").read_bytes())["llama"]
    (proof,) = proven.proofs
    assert proof.transformers == transformers.__version__ and proof.checks == sum(len(one.checks) for one in results)
    assert 0 < proof.worst <= proof.bound == 1e-5 and 0 < proof.bf16 <= 1.25
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "llama.yaml", tmp_path / "specs")
    (model,) = check(Options(str(tmp_path))).made
    assert proven.code == fingerprint(model.files, HERE.models), "as `codegen list` sees the same files"


def test_the_table_names_what_differs(capsys, checkpoint, monkeypatch):
    from nemo_automodel.components.models.llama import model

    build = model.LlamaAttention.__init__

    def broken(self, *arguments):
        build(self, *arguments)
        self.scale *= 1.01

    monkeypatch.setattr(model.LlamaAttention, "__init__", broken)
    code, output = run(capsys, "--checkpoint", checkpoint)
    assert code == 1
    assert "differs first: model.layers.0.self_attn: output" in " ".join(output.out.split())


def test_a_lost_tensor_is_a_difference(capsys, checkpoint):
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    code, output = run(capsys, "--checkpoint", checkpoint, "--json")
    assert code == 1
    assert "model.norm.weight" in output.out


def test_an_unknown_spec_is_a_usage_error(capsys):
    assert main(["nothing", "--root", str(ROOT)]) == 2
    assert "nothing.yaml" in capsys.readouterr().err


STRANGER = "parity_stranger"


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module that could be imported and would leave a mark; its mark."""
    mark, outside = tmp_path / "imported", tmp_path / "outside"
    outside.mkdir()
    (outside / f"{STRANGER}.py").write_text(f"open({str(mark)!r}, 'w')\nfrom torch.nn import Linear\n")
    monkeypatch.syspath_prepend(outside)
    return mark


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'tests: {{reference: "{STRANGER}:Linear"}}', "is no reference; write transformers:Class or tests.reference"),
        ('tests: {reference: "tests.reference.missing:Model"}', "tests.reference.missing:Model: the tree has no such"),
        (
            f'overrides: {{attention: "{STRANGER}:Linear"}}',
            f"{STRANGER}:Linear: the tree has no such module; write it at",
        ),
    ],
)
@pytest.mark.parametrize("options", [(), ("--sensitivity",)])
def test_a_spec_makes_parity_import_nothing_from_outside(capsys, tmp_path, stranger, line, message, options):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "llama.yaml").write_text(f"name: llama\nsummary: A stranger's.\n{line}\n")
    assert main(["llama", "--root", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err
    assert not stranger.exists()


@pytest.mark.parametrize(
    "path", [f"{STRANGER}:Linear", "transformers:pipeline", "transformers:LlamaForCausalLn", "torch.nn:Linear"]
)
def test_only_models_of_transformers_and_of_the_project_are_references(stranger, path):
    with pytest.raises(LookupError, match=path):
        named_reference(path)
    assert not stranger.exists()
    assert named_reference("transformers:LlamaForCausalLM").__name__ == "LlamaForCausalLM"
    assert named_reference("tests.reference.dbrx:DbrxForCausalLM").__name__ == "DbrxForCausalLM"
