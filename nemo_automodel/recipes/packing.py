"""Whether packed examples see each other: asked of the model itself, as some mixers carry a state over every border."""

from typing import Any

import torch
from torch import Tensor

from nemo_automodel.recipes.mistakes import RecipeError

LENGTH = 12  # tokens of each of two examples
NOTHING = 1e-5  # of the largest slope: sums over all that lies before a border leave rounding errors of 1e-10


def check_packing(model: Any) -> None:
    """Raises RecipeError where an example sees the one before it, though its positions start anew.

    What the second one's logits are made of has a gradient: the first one's embeddings may have none.
    """
    was_training, name = model.training, type(model.get_base_model() if _is_adapted(model) else model).__name__
    try:
        reach = _reach(model.eval())
    finally:
        model.train(was_training)
    if not reach[LENGTH:].any():
        raise RecipeError(f"chat.packing: {name} does not tell whether packed examples see each other; set it to false")
    if reach[:LENGTH].max() > NOTHING * reach.max():
        raise RecipeError(
            f"chat.packing: in {name} a packed example sees the one before it, whatever the positions say; set it to "
            "false, or take a model of nemo_automodel"
        )


def _reach(model: Any) -> Tensor:
    """[2 * LENGTH]: of the second example's logits, the largest slope by each token's embedding."""
    embeddings, seen = model.get_input_embeddings(), []

    def keep(module: Any, arguments: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    hook = embeddings.register_forward_hook(keep)
    try:
        ids = torch.arange(2 * LENGTH, device=model.device)[None] % embeddings.weight.shape[0]
        with torch.enable_grad():
            logits = model(input_ids=ids, position_ids=ids % LENGTH, use_cache=False).logits
            (slope,) = torch.autograd.grad(logits[:, LENGTH:].float().square().sum(), seen[:1])
    finally:
        hook.remove()
    return slope[0].float().abs().amax(-1)


def _is_adapted(model: Any) -> bool:
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")
