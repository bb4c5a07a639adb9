#!/usr/bin/env bash
# transformers 5.24.0: the classes for images and text have a head of their own and leave out what their text model's class does
# to its logits. Cohere2Vision's are 4 times those of Cohere2 with logit_scale 0.25, LLaVA's over Granite 8 times those of Granite
# with logits_scaling 8, for the same weights and the same text: whoever samples or trains does it at another temperature.
# Greedy text is the same, and there is no warning. (Gemma 3's soft-cap is left out likewise; PaliGemma's is not.)
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from transformers import Cohere2Config, Cohere2ForCausalLM, Cohere2VisionConfig, Cohere2VisionForConditionalGeneration
from transformers import GraniteConfig, GraniteForCausalLM, LlavaConfig, LlavaForConditionalGeneration

print({m.__name__: m.__version__ for m in (torch, transformers)})
sizes = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
tower = {
    "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}
cases = {
    "Cohere2Vision": (
        Cohere2VisionForConditionalGeneration, Cohere2VisionConfig, Cohere2ForCausalLM,
        Cohere2Config(logit_scale=0.25, **sizes),
    ),
    "LLaVA over Granite": (
        LlavaForConditionalGeneration, LlavaConfig, GraniteForCausalLM, GraniteConfig(logits_scaling=8.0, **sizes),
    ),
}
ids = torch.tensor([[1, 5, 6, 7]])
found = {}
for name, (whole_class, whole_config, text_class, text_config) in cases.items():
    torch.manual_seed(0)
    whole = whole_class(whole_config(text_config=text_config.to_dict(), vision_config=tower)).eval()
    text = text_class(text_config).eval()
    text.model.load_state_dict(whole.model.language_model.state_dict())
    text.lm_head.load_state_dict(whole.lm_head.state_dict())
    with torch.no_grad():
        ratios = (whole(ids).logits / text(ids).logits)[..., 1:]  # the padding token's embedding, and so its logit, is zero
    found[name] = round(ratios.median().item(), 3)
    assert (ratios - found[name]).abs().max() < 0.01
    print(f"{name}: every logit is {found[name]} times the text class's")
assert found == {"Cohere2Vision": 4.0, "LLaVA over Granite": 8.0}, found
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
