#!/usr/bin/env bash
# transformers 5.24.0 with bitsandbytes 0.50.2: `BitsAndBytesConfig(load_in_4bit=True)` replaces modules whose type is exactly
# `nn.Linear`. Each projection of Falcon is a `FalconLinear`, a subclass: the model loads with `is_quantized` true, no parameter has
# four bits, and its logits are those of the unquantised model to the last bit. All that is said is a warning of another quantiser,
# eetq, that there are no linear modules. A Llama beside it is quantised.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  "torch==2.13.0" "transformers==5.24.0" "bitsandbytes==0.50.2" "accelerate==1.15.0"
cat > "$folder/run.py" <<'PY'
import sys

import accelerate, bitsandbytes, torch, transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, FalconConfig, LlamaConfig

print({m.__name__: m.__version__ for m in (torch, transformers, bitsandbytes, accelerate)})
SIZES = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=128)
CONFIGS = {"falcon": FalconConfig(**SIZES), "llama": LlamaConfig(**SIZES, intermediate_size=128)}
ids = torch.arange(1, 13)[None]
seen = {}
for name, config in CONFIGS.items():
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder := f"{sys.argv[1]}/{name}")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=asked, dtype=torch.float32, device_map={"": "cpu"}
    ).eval()
    kinds = sorted({type(parameter).__name__ for parameter in model.parameters()})
    with torch.no_grad():
        off = (plain(ids).logits - model(ids).logits).abs().max().item()
    seen[name] = (kinds, off)
    print(f"{name}: quantised {model.is_quantized}, by {model.quantization_method}, parameters {kinds}, logits off by {off:.1e}")
assert seen["falcon"] == (["Parameter"], 0.0), seen["falcon"]
assert "Params4bit" in seen["llama"][0] and seen["llama"][1] > 0, seen["llama"]
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
grep "eetq but no linear modules were found" "$folder/stderr"
