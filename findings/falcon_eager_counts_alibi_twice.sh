#!/usr/bin/env bash
# transformers 5.24.0: Falcon with ALiBi (the layout of falcon-rw) gives other logits in eager attention than in sdpa.
# The model puts the scaled position biases into the mask, for sdpa; eager adds that mask to scores to which it has added
# the biases already. With half of the slopes, eager gives what sdpa gives with all of them, but for rounding: they do
# count twice. So whoever asks for `output_attentions`, which only eager answers, gets weights of another model. Without
# ALiBi both agree.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from transformers import FalconConfig, FalconForCausalLM
from transformers.models.falcon import modeling_falcon

print({m.__name__: m.__version__ for m in (torch, transformers)})
ids = torch.arange(1, 13)[None]
whole = modeling_falcon.build_alibi_tensor


def logits(alibi, attention, share=1.0):
    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=128, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, alibi=alibi, bias=True,
        multi_query=False, parallel_attn=False, initializer_range=0.2, attn_implementation=attention,
    )
    model = FalconForCausalLM(config).eval()
    modeling_falcon.build_alibi_tensor = lambda *args, **kwargs: share * whole(*args, **kwargs)
    with torch.no_grad():
        return model(ids, attention_mask=torch.ones_like(ids)).logits


def off(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


rotary = off(logits(False, "eager"), logits(False, "sdpa"))
once = off(logits(True, "eager"), logits(True, "sdpa"))
halved = off(logits(True, "eager", 0.5), logits(True, "sdpa"))
print(f"eager from sdpa, of the largest logit: rotary {rotary:.1e}, ALiBi {once:.1e}, ALiBi of half the slopes {halved:.1e}")
assert rotary < 1e-5 and halved < 1e-5 < 1e-3 < once
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
