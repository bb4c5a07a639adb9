#!/usr/bin/env bash
# transformers 5.24.0 with torchao 0.18.0: `quantization_config=TorchAoConfig(Int8WeightOnlyConfig())` quantises `nn.Linear`.
# GPT-2 keeps its projections in transformers' own Conv1D, which is none: the model loads without a warning, no parameter is an
# int8 tensor, and its logits are those of the unquantised one to the last bit. A Llama beside it is quantised.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  "torch==2.13.0" "transformers==5.24.0" "torchao==0.18.0" "accelerate==1.15.0"
cat > "$folder/run.py" <<'PY'
import sys

import accelerate, torch, torchao, transformers
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, TorchAoConfig

print({m.__name__: m.__version__ for m in (torch, transformers, torchao, accelerate)})
CONFIGS = {
    "gpt2": GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=128, n_positions=32),
    "llama": LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=128),
}
ids = torch.arange(1, 13)[None]
seen = {}
for name, config in CONFIGS.items():
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder := f"{sys.argv[1]}/{name}")
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    asked = TorchAoConfig(Int8WeightOnlyConfig())
    quantised = AutoModelForCausalLM.from_pretrained(folder, quantization_config=asked).eval()
    kinds = sorted({type(parameter.data).__name__ for parameter in quantised.parameters()})
    with torch.no_grad():
        off = (plain(ids).logits - quantised(ids).logits).abs().max().item()
    seen[name] = (kinds, off)
    print(f"{name}: parameters {kinds}, logits {off:.1e} from the unquantised model")
assert seen["gpt2"] == (["Tensor"], 0.0), seen["gpt2"]
assert seen["llama"][0] != ["Tensor"] and seen["llama"][1] > 0, seen["llama"]
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
! grep -iE "warn|conv1d" "$folder/stderr"
