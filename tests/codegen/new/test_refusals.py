"""What cannot be read is told with its place and its cure; nothing of a checkpoint is run; no spec is overwritten."""

import os
import pickle
import struct
import sys
from pathlib import Path

import pytest

from codegen.errors import CodegenError
from codegen.language.load import load
from codegen.memory.last_run import NotRegular
from codegen.new import draft
from codegen.new.headers import header, read_shapes
from tests.codegen.new import checkpoints

LLAMA = {
    **{"model_type": "brandnew", "architectures": ["BrandNewForCausalLM"], "hidden_size": 64, "vocab_size": 100},
    **{"intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2},
    **{"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 128, "rope_theta": 10000.0},
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "tree/specs").mkdir(parents=True)
    (tmp_path / "tree/specs/llama.yaml").write_text("name: llama\n")
    (tmp_path / "tree/specs/mixtral.yaml").write_text("name: mixtral\nmlp: moe\n")
    return tmp_path / "tree"


def refused(path, root, **options):
    with pytest.raises(CodegenError) as caught:
        draft(path, root, **options)
    return str(caught.value)


def test_there_must_be_a_config(root, tmp_path):
    assert "no such file or folder" in refused(tmp_path / "nowhere", root)
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused(tmp_path / "empty", root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no valid JSON"),
        ("[]", "no JSON object"),
        ("{}", "no model_type"),
        ('{"model_type": "x", "architectures": "X"}', "must be a list"),
        ('{"model_type": "x", "architectures": ["XForSequenceClassification"]}', "no language model"),
        ('{"model_type": "x", "architectures": ["XForConditionalGeneration"]}', "vision_config and text_config"),
        (
            '{"model_type": "x", "architectures": ["XForConditionalGeneration"], "vision_config": {"a": 1}}',
            "of its text",
        ),
        ('{"model_type": "x", "architectures": ["XForMaskedLM"]}', "is an encoder,"),
        ('{"model_type": "x", "architectures": ["XModel"], "type_vocab_size": 2}', "is an encoder,"),
        ('{"model_type": "x", "architectures": ["XForConditionalGeneration"], "is_encoder_decoder": true}', "-decoder"),
        ("[" * 100_000, "no valid JSON"),
        (" " * 5_000_000, "larger than"),
    ],
)
def test_a_broken_config_is_told(text, said, root, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert said in refused(tmp_path / "config.json", root)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 50) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 3) + b"{,}",
        checkpoints.header({"a": [-1]}),
        checkpoints.header({"a": ["1"]}),
        struct.pack("<Q", 8) + b'{"a": 1}',
    ],
)
def test_a_broken_header_is_told(content, root, tmp_path):
    folder = checkpoints.checkpoint(tmp_path / "checkpoint", LLAMA)
    (folder / "model.safetensors").write_bytes(content)
    assert "is broken" in refused(folder, root)


@pytest.mark.parametrize("index", ["{", "{}", '{"weight_map": {"a": "../x.safetensors"}}', '{"weight_map": {"a": 1}}'])
def test_a_broken_index_is_told(index, root, tmp_path):
    folder = checkpoints.checkpoint(tmp_path / "checkpoint", LLAMA)
    (folder / "model.safetensors.index.json").write_text(index)
    assert "is broken" in refused(folder, root)


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_what_is_no_file_is_told_at_once(put, name, root, tmp_path):
    folder = checkpoints.checkpoint(tmp_path / "checkpoint", LLAMA)
    (folder / name).unlink(missing_ok=True)
    put(folder / name)
    with pytest.raises(NotRegular, match=f"is not a regular file: '{folder / name}'"):
        draft(folder, root)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_config(device, root):
    with pytest.raises(NotRegular):
        draft(Path(device), root)


def test_a_missing_shard_leaves_its_names(tmp_path):
    folder = checkpoints.checkpoint(tmp_path, LLAMA)
    (folder / "model-1.safetensors").write_bytes(checkpoints.header({"a.weight": [2, 3]}))
    names = '{"weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(names)
    shapes, notes = read_shapes(folder)
    assert shapes == {"a.weight": (2, 3), "b.weight": None}
    assert notes == ["model-2.safetensors is not there: its tensors are known by name only"]


def test_only_the_header_of_a_file_is_read(tmp_path):
    file = tmp_path / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(checkpoints.header({"a": [2**40]}))
        stream.truncate(2**40)  # a sparse terabyte
    assert header(file) == {"a": (2**40,)}


def test_nothing_of_a_checkpoint_is_run(root, tmp_path):
    trap, sprung = tmp_path / "checkpoint", tmp_path / "sprung"
    config = {**LLAMA, "auto_map": {"AutoConfig": "configuration_trap.TrapConfig"}}
    checkpoints.checkpoint(trap, config)
    for name in ("configuration_trap.py", "modeling_trap.py", "__init__.py", "conftest.py", "json.py"):
        (trap / name).write_text(f"open({str(sprung)!r}, 'w')\n")
    (trap / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    made = draft(trap, root)
    assert not sprung.exists()
    assert not [name for name in sys.modules if name.endswith("_trap")]
    assert any("code of its own" in note for note in made.notes) and any(
        "was not opened" in note for note in made.notes
    )


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_spec_is_overwritten(root, tmp_path):
    source = checkpoints.checkpoint(tmp_path / "checkpoint", LLAMA)
    for name in ("llama", "LLaMA"):
        assert "specs/llama.yaml exists already" in refused(source, root, name=name)
    assert (root / "specs/llama.yaml").read_text() == "name: llama\n"
    assert draft(source, root, name="llama", write=False).text.count("name: llama\n") == 1
    assert draft(source, root).written
    assert "specs/brandnew.yaml exists already" in refused(source, root)


@pytest.mark.parametrize("name", ["../x", "1x", "class", "", "é"])
def test_names_are_identifiers(name, root, tmp_path):
    source = checkpoints.checkpoint(tmp_path / "checkpoint", {**LLAMA, "model_type": name or "!"})
    if name == "../x":
        assert draft(source, root).spec == "specs/x.yaml"
    else:
        assert "no name for a spec" in refused(source, root)


HOSTILE = "a # b: {c} 'd' \"e\" *x: !!python/object:os.system ]} - 1 ? | > @ `"
HIDDEN = "a\nattention: mla \u202e"


def test_hostile_strings_stay_data(root, tmp_path):
    config = {
        **LLAMA,
        "note": HOSTILE,
        "nested": {HOSTILE: [HOSTILE, None, True, "yes", "1e5"]},
        HOSTILE: 1,
        "class": 1,
    }
    config |= {"hidden": HIDDEN, "deep": [{"x": HIDDEN}], "layer_types": [HOSTILE, HIDDEN], "word": "none", HIDDEN: 1}
    tensors = {
        f"model.layers.0.{HOSTILE}.weight": [2, 2],
        f"model.layers.0.{HIDDEN}.q_proj.weight": [3, 3],
        HIDDEN: [3],
    }
    made = draft(checkpoints.checkpoint(tmp_path / "checkpoint", config, tensors), root)
    fields = load(made.text, "x.yaml").plain()["config"]["fields"]
    assert {name: fields[name] for name in ("note", "nested")} == {name: config[name] for name in ("note", "nested")}
    assert not fields.keys() & {"hidden", "deep", "layer_types", "word", "class", HOSTILE, HIDDEN}
    said = next(line for line in made.seen if line.startswith("config entries that no field can have"))
    assert all(name in said for name in ("hidden", "deep", "layer_types", "word", "class"))
    assert all(line.isprintable() for line in made.text.splitlines())
