#!/usr/bin/env bash
# transformers 5.24.0: Llama 4's class for images and text raises in every forward, with and without images. It reads
# `image_outputs` off what its text half returns, which is a causal model's output and has no such field: neither a call, with
# `return_dict` either way, nor `generate` comes past that line. With 5.22.0 all three run.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from transformers import Llama4Config, Llama4ForConditionalGeneration

print({m.__name__: m.__version__ for m in (torch, transformers)})
torch.manual_seed(0)
text = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "intermediate_size_mlp": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
vision = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 28,
    "patch_size": 14, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32,
}
model = Llama4ForConditionalGeneration(Llama4Config(text_config=text, vision_config=vision)).eval()
ids = torch.tensor([[1, 5, 6, 7]])
with torch.no_grad():
    seen = []
    for what, call in {
        "forward": lambda: model(ids),
        "forward, as a tuple": lambda: model(ids, return_dict=False),
        "generate": lambda: model.generate(ids, max_new_tokens=2, do_sample=False),
    }.items():
        try:
            call()
            seen.append(None)
        except AttributeError as error:
            seen.append(str(error))
        print(f"{what}: {seen[-1] or 'runs'}")
assert seen == ["'MoeCausalLMOutputWithPast' object has no attribute 'image_outputs'"] * 3, seen
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
