#!/usr/bin/env bash
# transformers 5.24.0 with peft 0.21.2: LoRA on Laguna's shared experts is lost between `save_pretrained` and `from_pretrained`.
# The renaming of "mlp.shared_expert." on disk to "mlp.shared_experts." in memory is a pattern whose last dot matches any
# character: it takes the "s" of names that are those of memory already, as an adapter's are, and no key fits. The loaded model
# gives the plain model's logits to the last bit, with a warning about missing keys. Adapters on attention come back.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  "torch==2.13.0" "transformers==5.24.0" "peft==0.21.2"
cat > "$folder/run.py" <<'PY'
import copy, sys, warnings

import peft, torch, transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LagunaConfig, LagunaForCausalLM

print({m.__name__: m.__version__ for m in (torch, transformers, peft)})
torch.manual_seed(0)
config = LagunaConfig(
    vocab_size=128, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, shared_expert_intermediate_size=32,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2,
)
plain = LagunaForCausalLM(config).eval()
ids = torch.arange(1, 13)[None]
off, told = {}, {}
for part in ("shared_experts", "self_attn"):
    targets = [name for name, m in plain.named_modules() if part in name and type(m) is torch.nn.Linear]
    adapted = get_peft_model(copy.deepcopy(plain), LoraConfig(target_modules=targets)).eval()
    for name, parameter in adapted.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(folder := f"{sys.argv[1]}/{part}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = PeftModel.from_pretrained(copy.deepcopy(plain), folder).eval()
    told[part] = any("missing adapter keys" in str(one.message) for one in caught)
    with torch.no_grad():
        saved, again, bare = (model(input_ids=ids).logits for model in (adapted, loaded, plain))
    off[part] = (again - saved).abs().max().item(), (again - bare).abs().max().item()
    print(f"{part}: {len(targets)} adapters; what was loaded is {off[part][0]:.1e} from what was saved, "
          f"{off[part][1]:.1e} from the plain model; told of missing keys: {told[part]}")
assert off["self_attn"][0] == 0 < off["self_attn"][1] and not told["self_attn"]
assert off["shared_experts"][1] == 0 < off["shared_experts"][0] and told["shared_experts"]
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
