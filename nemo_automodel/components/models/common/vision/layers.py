"""Hidden states of a tower: of one layer, or of several side by side."""

import torch


def layers(chosen):
    """How many: of a number, or of a list of numbers."""
    return 1 if isinstance(chosen, int) else len(chosen)


def of_layers(states, chosen):
    """states: a sequence of [I, P, D] -> [I, P, D], or [I, P, layers * D] where several are chosen."""
    return states[chosen] if isinstance(chosen, int) else torch.cat([states[layer] for layer in chosen], -1)
