"""How many rows the table of tokens has, in a draft, where it has more than the vocabulary."""

import re

from codegen.new.body import Body
from codegen.new.values import Values
from codegen.new.weights import Weights

_AT = ("embedding", "rows")
_TABLE = re.compile(r"([\w.]+)\(ids\)")
DOUBT = "the table has so many rows"


def draft_rows(body: Body, weights: Weights, values: Values) -> None:
    """Another number than the draft says."""
    found = _TABLE.search(str(body.get("input")))
    shape = weights.around.get(f"{found[1] if found else 'embed_tokens'}.weight")
    size = values.get("vocab_size")
    if not shape or not isinstance(size, int):
        return
    said = body.get(*_AT)
    if shape[0] == (size if said is None else values.read(str(said))):
        return
    body.drop(*_AT)
    if shape[0] > size:
        body.put(f"config.vocab_size + {shape[0] - size}", *_AT, doubt=DOUBT)
