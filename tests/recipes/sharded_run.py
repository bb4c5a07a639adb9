"""Runs under torchrun: trains a recipe, and every rank reports how its parameters lay while it trained.

Arguments: the recipe, a folder for the reports, overrides.
"""

import json
import sys
from pathlib import Path

from torch import distributed
from torch.distributed.tensor import DTensor, Shard

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, leave


def main() -> None:
    recipe, folder, *overrides = sys.argv[1:]
    trainer = finetune(load_recipe(recipe, overrides))
    report = {
        "trained": type(trainer.model_wrapped).__name__,
        "backend": distributed.get_backend(),
        "parameters": {
            name: isinstance(parameter, DTensor)
            and parameter.placements == (Shard(0),)
            and parameter.to_local().numel() < parameter.numel()
            for name, parameter in trainer.model_wrapped.named_parameters()
        },
    }
    Path(folder, f"rank{distributed.get_rank()}.json").write_text(json.dumps(report))
    distributed.destroy_process_group()
    leave(0)


if __name__ == "__main__":
    main()
