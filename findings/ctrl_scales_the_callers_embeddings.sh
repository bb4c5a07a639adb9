#!/usr/bin/env bash
# transformers 5.24.0: CTRL multiplies `inputs_embeds` by the root of its width in place, in the caller's tensor. The same call made
# twice gives other logits, the tensor grows by that factor with each call, and embeddings whose gradient is asked for (saliency,
# prompts that are learned) cannot be given at all. GPT-2, asked alike, leaves them as they were.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.24.0"
cat > "$folder/run.py" <<'PY'
import torch, transformers
from transformers import CTRLConfig, CTRLLMHeadModel, GPT2Config, GPT2LMHeadModel

print({m.__name__: m.__version__ for m in (torch, transformers)})
sizes = {"vocab_size": 128, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32, "initializer_range": 0.2}
torch.manual_seed(0)
models = CTRLLMHeadModel(CTRLConfig(**sizes, dff=96)).eval(), GPT2LMHeadModel(GPT2Config(**sizes)).eval()
ids = torch.arange(1, 9)[None]
seen = {}
for model in models:
    given = model.get_input_embeddings()(ids).detach()
    before = given.clone()
    with torch.no_grad():
        first, second = (model(inputs_embeds=given).logits for _ in range(2))
    moved = ((first - second).abs().max() / first.abs().max()).item()
    grown = (given.norm() / before.norm()).item()
    try:
        model(inputs_embeds=before.requires_grad_()).logits.sum().backward()
        raised = ""
    except RuntimeError as error:
        raised = str(error)
    seen[type(model).__name__] = moved, grown, raised
    print(f"{type(model).__name__}: called again, logits move by {moved:.0%}; embeddings are {grown:.0f} times as long; {raised!r}")
moved, grown, raised = seen["CTRLLMHeadModel"]
assert moved > 0.01 and round(grown) == 64 and "in-place" in raised, seen
assert seen["GPT2LMHeadModel"] == (0.0, 1.0, ""), seen
PY
"$folder/venv/bin/python" "$folder/run.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
