#!/usr/bin/env bash
# transformers 5.24.0: save_pretrained of Kimi-K2.5 writes names that the published files do not have: the renamings by which it reads
# them are undone in another order than they were made, so layers of the text become `blocks`, as those of the tower are. The class
# reads its own file again without a word, but whatever goes by published names (vLLM, converters, adapters' tools) does not know it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from tempfile import TemporaryDirectory
from safetensors import safe_open
from transformers import Kimi_K25Config, Kimi_K25ForConditionalGeneration

print({m.__name__: m.__version__ for m in (torch, transformers)})
text = {
    "model_type": "deepseek_v3", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 2, "num_experts_per_tok": 1,
    "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}
tower = {
    "model_type": "kimi_k25_vision", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "patch_size": 14, "pos_emb_height": 4, "pos_emb_width": 4,
}
torch.manual_seed(0)
config = Kimi_K25Config(text_config=text, vision_config=tower, image_token_id=63, projection_hidden_size=32)
model = Kimi_K25ForConditionalGeneration(config)
with TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    with safe_open(f"{folder}/model.safetensors", "pt") as file:
        names = set(file.keys())
    back = Kimi_K25ForConditionalGeneration.from_pretrained(folder, output_loading_info=True)[1]
published = {
    "the text's layers": "language_model.model.layers.0.input_layernorm.weight",
    "the tower's patches": "vision_tower.patch_embed.proj.weight",
    "the projector's norm": "mm_projector.pre_norm.weight",
}
for what, name in published.items():
    near = sorted(one for one in names if one.rsplit(".", 2)[-2] == name.rsplit(".", 2)[-2] and one.endswith("weight"))
    print(f"{what}: published {name}, saved {near[0]}")
    assert name not in names
print({key: sorted(value) for key, value in back.items() if value})
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
