#!/usr/bin/env bash
# transformers 5.24.0: Falcon (rotary, as Falcon-7B) attends to later tokens where a caller asks for attention weights.
# By default it runs sdpa, whose mask is one of truth values; with `output_attentions=True` the same mask is added to the scores,
# so that what is allowed gets +1 and nothing is forbidden. Logits of the first token depend on the last one, and
# `set_attn_implementation("eager")` warns and leaves the model at sdpa.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from transformers import FalconConfig, FalconForCausalLM

print({m.__name__: m.__version__ for m in (torch, transformers)})
torch.manual_seed(0)
config = FalconConfig(
    vocab_size=128, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.2, alibi=False
)
model = FalconForCausalLM(config).eval()
ids = torch.arange(1, 13)[None]
other = ids.clone()
other[0, -1] = 99
with torch.no_grad():
    plain = [model(text).logits[0, 0] for text in (ids, other)]
    asked = [model(text, output_attentions=True) for text in (ids, other)]
moved = [
    ((first - second).abs().max() / first.abs().max()).item()
    for first, second in (plain, [out.logits[0, 0] for out in asked])
]
future = asked[0].attentions[0][0, :, 0, 1:].sum(-1).max().item()
print(f"another last token moves the first token's logits by {moved[0]:.0%}, with output_attentions by {moved[1]:.0%}")
print(f"a head of the first token puts {future:.0%} of its weight on later tokens")
assert moved[0] == 0 and moved[1] > 0.01 and future > 0.5, (moved, future)
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
