"""Ways to break a checkpoint folder: each changes the files of a good one in place. Some leave it good."""

import json

import torch
from safetensors.torch import load_file, save_file

FIELDS = {
    "num_attention_heads": [0, -1, 3, "four", 1 << 40, None, 4.5],
    "num_key_value_heads": [0, -2, 3, "two"],
    "hidden_size": [0, -64, 48, "64", 1 << 45, [64]],
    "intermediate_size": [0, -1, 50, "x", 1 << 45],
    "num_hidden_layers": [3, 50, -1, "2", 1 << 40],
    "vocab_size": [0, -5, 100, 300, 1 << 45, "many"],
    "head_dim": [0, 7, "x", 1 << 30],
    "rms_norm_eps": ["small", [1]],
    "hidden_act": ["no_such_act", 3, None],
    "pad_token_id": [256, 10_000, -999, "zero", [0]],
    "eos_token_id": ["end", {"a": 1}],
    "max_position_embeddings": [0, -1, "x"],
    "rope_parameters": [3, [], "yarn", {"rope_type": "no_such"}, {"rope_type": "yarn"}, {"rope_theta": "x"}],
    "rope_theta": ["x", [1]],
    "rope_scaling": [3, "linear", {"type": "linear"}, {"rope_type": "linear", "factor": "two"}],
    "dtype": ["no_such", 3, "float32", ["float32"]],
    "torch_dtype": ["no_such", 7],
    "tie_word_embeddings": ["yes", 3],
    "architectures": ["Llama", 3, [3], {}, [None], ["NoSuchForCausalLM"]],
    "model_type": ["no_such_type", 3, None, [], "qwen2"],
    "quantization_config": [3, [], {}, "int4", {"quant_method": "no_such"}, {"quant_method": 3}, {"bits": 4}]
    + [{"quant_method": "fp8", "weight_block_size": "128"}, {"quant_method": "fp8", "weight_block_size": [0, 0]}]
    + [{"quant_method": "compressed-tensors"}, {"quant_method": "compressed-tensors", "config_groups": 3}]
    + [{"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": 3}}}, {"quant_method": "gptq"}],
    "initializer_range": ["x", -1],
    "attention_bias": ["x"],
    "num_experts": [0, -1, 3, 8, "x", 1 << 40],
    "num_experts_per_tok": [0, 9, -1, "x"],
    "moe_intermediate_size": [0, 20, "x"],
    "use_cache": ["x"],
    "layer_types": [3, ["no_such"], ["full_attention"] * 7],
}
TEXTS = {
    "empty": "",
    "cut": '{"a": ',
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "a string": '"x"',
    "deep": "[" * 100_000,
    "not UTF-8": b"\xff\xfe{}",
    "NaN": '{"vocab_size": NaN}',
    "an empty mapping": "{}",
}
MAPS = {
    "another type": 3,
    "null": None,
    "a list": [],
    "no entries": {},
    "a number for a file": {"a": 3},
    "a file that is not there": {"lm_head.weight": "model-00009-of-00009.safetensors"},
    "an absolute path": {"lm_head.weight": "/nonexistent/model.safetensors"},
    "a parent": {"lm_head.weight": "../model.safetensors"},
    "a parent inside": {"lm_head.weight": "a/../../model.safetensors"},
    "a parent of another system": {"lm_head.weight": "..\\model.safetensors"},
    "an empty name": {"lm_head.weight": ""},
    "the folder": {"lm_head.weight": "."},
    "another kind of file": {"lm_head.weight": "config.json"},
}
DTYPES = (
    torch.int8,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.float64,
    torch.float8_e4m3fn,
)


def edit_json(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def shard(folder, number=0):
    return sorted(folder.glob("*.safetensors"))[number]


def change(folder, change, number=0):
    """Writes one file of weights again as `change` of its tensors."""
    file = shard(folder, number)
    save_file({n: t.contiguous() for n, t in change(load_file(file)).items()}, file, {"format": "pt"})


def cut(folder, keep):
    data = shard(folder).read_bytes()
    shard(folder).write_bytes(data[: keep if keep >= 0 else len(data) + keep])


def flip(folder, place):
    data = bytearray(shard(folder).read_bytes())
    data[place] ^= 0x55
    shard(folder).write_bytes(bytes(data))


def edit_header(folder, change):
    file = shard(folder)
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def entry(**fields):
    """Other fields in the entry of the first tensor of a header; None takes one away."""

    def change(header):
        name = next(name for name in header if name != "__metadata__")
        changed = header[name] | fields if isinstance(header[name], dict) else fields
        return header | {name: {key: value for key, value in changed.items() if value is not None}}

    return change


def broken():
    """{what is done: function of the folder}."""
    ways = {}
    for field, values in FIELDS.items():
        for value in values:
            ways[f"config: {field} = {value!r:.60}"] = lambda f, k=field, v=value: edit_json(
                f / "config.json", **{k: v}
            )
    for file in ("config.json", "generation_config.json", "model.safetensors.index.json"):
        for name, text in TEXTS.items():
            data = text if isinstance(text, bytes) else text.encode()
            ways[f"{file}: {name}"] = lambda f, p=file, d=data: (f / p).write_bytes(d)
        ways[f"{file}: gone"] = lambda f, p=file: (f / p).unlink()
        ways[f"{file}: a folder"] = lambda f, p=file: ((f / p).unlink(), (f / p).mkdir())
    for name, places in MAPS.items():
        ways[f"index: {name}"] = lambda f, v=places: edit_json(f / "model.safetensors.index.json", weight_map=v)
    for value in (None, 3, []):
        ways[f"index: metadata {value!r}"] = lambda f, v=value: edit_json(
            f / "model.safetensors.index.json", metadata=v
        )
    for keep in (0, 4, 8, 40, -1, -100):
        ways[f"shard: cut to {keep}"] = lambda f, k=keep: cut(f, k)
    for place in (0, 3, 7, 8, 20, 60, 150):
        ways[f"shard: byte {place}"] = lambda f, p=place: flip(f, p)
    ways["shard: bytes behind"] = lambda f: shard(f).write_bytes(shard(f).read_bytes() + b"1234")
    ways["shard: gone"] = lambda f: shard(f).unlink()
    ways["shard: a folder"] = lambda f: [(s.unlink(), s.mkdir()) for s in [shard(f)]]
    ways["shard: another format"] = lambda f: torch.save({"a": torch.ones(2)}, shard(f))
    for name, header in {
        "a list": lambda h: [],
        "an entry that is a list": lambda h: h | {"x": []},
        "no dtype": entry(dtype=None),
        "dtype 3": entry(dtype=3),
        "another dtype": entry(dtype="F4"),
        "negative shape": entry(shape=[-1, -1]),
        "huge shape": entry(shape=[1 << 62, 1 << 62]),
        "float shape": entry(shape=[1.5]),
        "shape null": entry(shape="x"),
        "offsets reversed": entry(data_offsets=[8, 0]),
        "offsets of text": entry(data_offsets=["0", "8"]),
        "one offset": entry(data_offsets=[0]),
        "huge offsets": entry(data_offsets=[1 << 60, (1 << 60) + 8]),
        "negative offsets": entry(data_offsets=[-8, 0]),
        "metadata of numbers": lambda h: h | {"__metadata__": {"format": 3}},
        "no metadata": lambda h: {key: value for key, value in h.items() if key != "__metadata__"},
    }.items():
        ways[f"header: {name}"] = lambda f, c=header: edit_header(f, c)
    for number, dtype in enumerate(DTYPES):
        ways[f"tensors: one of {dtype}"] = lambda f, d=dtype, n=number: change(f, lambda ts: recast(ts, n, d))
    for number in range(4):
        ways[f"tensors: {number} dropped"] = lambda f, n=number: change(f, lambda ts: without(ts, n))
        ways[f"tensors: {number} turned"] = lambda f, n=number: change(f, lambda ts: reshaped(ts, n, (-1, 1)))
        ways[f"tensors: {number} flat"] = lambda f, n=number: change(f, lambda ts: reshaped(ts, n, (-1,)))
        ways[f"tensors: {number} deeper"] = lambda f, n=number: change(f, lambda ts: reshaped(ts, n, (1, 1, -1)))
        ways[f"tensors: {number} emptied"] = lambda f, n=number: change(f, lambda ts: emptied(ts, n))
        ways[f"tensors: {number} renamed"] = lambda f, n=number: change(f, lambda ts: renamed(ts, n))
    ways["tensors: one in two shards"] = twice
    ways["tensors: none in a shard"] = lambda f: change(f, lambda ts: {})
    ways["tensors: one more"] = lambda f: change(f, lambda ts: ts | {"model.layers.0.more.weight": torch.ones(2)})
    ways["tensors: odd names"] = lambda f: change(f, lambda ts: ts | {"": torch.ones(2), "..": torch.ones(1)})
    ways["tensors: a layer beyond"] = lambda f: change(f, lambda ts: ts | {"model.layers.9.x": torch.ones(2)})
    ways["tensors: a layer of no number"] = lambda f: change(f, lambda ts: ts | {"model.layers.x.q": torch.ones(2)})
    return ways


def nth(tensors, number):
    return sorted(tensors)[number * (len(tensors) - 1) // 8]


def recast(tensors, number, dtype):
    name = nth(tensors, number)
    return tensors | {name: tensors[name].to(dtype)}


def without(tensors, number):
    return {name: tensor for name, tensor in tensors.items() if name != nth(tensors, number)}


def reshaped(tensors, number, shape):
    name = nth(tensors, number)
    return tensors | {name: tensors[name].reshape(shape)}


def emptied(tensors, number):
    name = nth(tensors, number)
    return tensors | {name: tensors[name][:0]}


def renamed(tensors, number):
    name = nth(tensors, number)
    return without(tensors, number) | {f"{name}x": tensors[name]}


def twice(folder):
    name, tensor = next(iter(load_file(shard(folder)).items()))
    change(folder, lambda tensors: tensors | {name: tensor}, 1)
