#!/usr/bin/env bash
# liger-kernel 0.8.5 patches an existing Qwen3-MoE model layer by layer and takes every layer's mlp for a mixture. A config may say
# `mlp_only_layers`, whose layers have a plain MLP: patching such a model raises AttributeError before anything is trained.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "liger-kernel==0.8.5" "triton==3.5.1"
cat > "$folder/run.py" <<'PY'
import importlib.metadata as metadata

from liger_kernel.transformers import _apply_liger_kernel_to_instance
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

print({name: metadata.version(name) for name in ("torch", "transformers", "liger-kernel")})
sizes = dict(hidden_size=32, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=2, vocab_size=64)
sizes |= dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2)
for dense in ([], [0]):
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, mlp_only_layers=dense))
    try:
        _apply_liger_kernel_to_instance(model=model)
        print(f"mlp_only_layers={dense}: patched")
    except AttributeError as error:
        print(f"mlp_only_layers={dense}: AttributeError: {error}")
PY
"$folder/venv/bin/python" "$folder/run.py" 2>/dev/null | tee "$folder/seen"
grep -q "mlp_only_layers=\[\]: patched" "$folder/seen"
grep -q "mlp_only_layers=\[0\]: AttributeError: 'Qwen3MoeMLP' object has no attribute 'experts'" "$folder/seen"
