#!/usr/bin/env bash
# transformers 5.24.0: Aria's get_image_features(pixels) takes the tower's last layer, whatever vision_feature_layer the config says;
# only forward, which hands the config's layer over, uses that. So whoever computes features ahead (to cache them, to pass them as
# inputs_embeds, to look at them) gets other numbers than the model sees, with no warning. In LLaVA both ask the config.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from transformers import AriaConfig, AriaForConditionalGeneration

print({m.__name__: m.__version__ for m in (torch, transformers)})
text = {
    "model_type": "aria_text", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "moe_num_experts": 2, "moe_topk": 1,
    "moe_num_shared_experts": 1, "pad_token_id": 0,
}
tower = {
    "model_type": "idefics3_vision", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}
torch.manual_seed(0)
config = AriaConfig(
    text_config=text, vision_config=tower, vision_feature_layer=-2, image_token_id=9, projector_patch_to_query_dict={4: 4}
)
model = AriaForConditionalGeneration(config).eval()
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, std=0.2)
pixels = torch.randn(1, 3, 28, 28)
ids = torch.tensor([[1, 9, 9, 9, 9, 5]])
seen = []
layer = model.model.language_model.layers[0]
layer.register_forward_pre_hook(lambda _, given, named: seen.append((given or [*named.values()])[0]), with_kwargs=True)
with torch.no_grad():
    model(input_ids=ids, pixel_values=pixels)
    def rows(**said):
        found = model.get_image_features(pixels, **said)
        found = getattr(found, "pooler_output", found)
        return (found if isinstance(found, torch.Tensor) else torch.cat(list(found))).reshape(-1, 32)
    asked, told = rows(), rows(vision_feature_layer=-2)
used = seen[0][0, 1:5]
far = ((asked - used).abs().max() / used.abs().max()).item()
print(f"forward uses layer -2: {torch.allclose(told, used)}; get_image_features by itself is {far:.2f} of the largest away")
assert torch.allclose(told, used) and far > 0.01
assert torch.allclose(asked, rows(vision_feature_layer=-1))
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
