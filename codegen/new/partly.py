"""Biases that some layers have and others lack, in a draft: the tensors' numbers of layers say which."""

from codegen.new.body import Body
from codegen.new.mixing import draft_mixer
from codegen.new.modules import layer
from codegen.new.values import Values
from codegen.new.weights import Weights

DOUBT = "the layers that have such biases here; a field may choose them"
BIAS = "bias"  # ends the names of biases, also of those that lie apart
_AT = ("attention", "bias")


def draft_mixers(body: Body, weights: Weights, values: Values) -> None:
    """The token mixer; biases that some layers have alone are laid on those."""
    here = layer(weights.inside)
    draft_mixer(body, here, values)
    prefix = f"{here.attention}." if here.attention else ""
    partial = {name for name in weights.sometimes if name.endswith(BIAS) and name.startswith(prefix or "\0")}
    layers = [{number for number, found in weights.each.items() if name in found} for name in partial]
    text = told_by_number(layers[0], len(weights.each)) if partial and all(one == layers[0] for one in layers) else None
    if text is None:
        return
    less = Body.copied(body.content)
    draft_mixer(less, layer({name: one for name, one in weights.inside.items() if name not in partial}), values)
    overlay, rest = body.get(*_AT), less.get(*_AT)
    if rest is None:
        body.drop(*_AT)
    else:
        body.put(rest, *_AT)
    entry = {"when": text, "attention": {BIAS: overlay}}
    body.put([*body.listed("layers"), entry], "layers", doubt=DOUBT)


def told_by_number(layers: set[int], number: int) -> str | None:
    """What tells these layers from the others by their number alone."""
    first, last = {0}, {number - 1}
    every = {*range(number)}
    told = {
        "layer == 0": first,
        "layer == config.num_hidden_layers - 1": last,
        "layer > 0": every - first,
        "layer < config.num_hidden_layers - 1": every - last,
        "layer % 2 == 0": {*range(0, number, 2)},
        "layer % 2": {*range(1, number, 2)},
    }
    return next((text for text, some in told.items() if some == layers), None)
