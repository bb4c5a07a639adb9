"""Tables of positions that are computed, told by their values: the catalog's rules, each at a few offsets."""

from collections.abc import Iterator
from typing import Any

import torch

from codegen.language.keys import keys
from codegen.language.spec import Sinusoid
from nemo_automodel.components.models.common.embedding import SinusoidalPositions

OFFSETS = 4  # of the first position
NEAR = 1e-5
NAME = "sinusoid"  # of a table that is no module

Table = tuple[str, dict[str, Any], torch.Tensor]  # how it is asked, as a part, and its rows for each text


def sinusoids(shape: torch.Size) -> Iterator[Table]:
    """All tables of the shape [B, T, D]; none of an odd width."""
    if len(shape) != 3 or shape[-1] % 2:
        return
    rule = keys(Sinusoid)["rule"]
    for word in rule.words:
        make = SinusoidalPositions(shape[-1], word)
        for offset in range(OFFSETS):
            rows = make((torch.arange(shape[1]) + offset)[None], torch.float32)
            section = {"kind": NAME} | ({} if word == rule.words[0] else {"rule": word})
            yield f"positions + {offset}" if offset else "positions", section, rows.expand(shape)


def computed(made: torch.Tensor) -> Table | None:
    """The table that a module hands out, if it is one of them. made: [B, T, D], or [1, T, D] of all texts."""
    return next((one for one in sinusoids(made.shape) if torch.allclose(one[2], made.float(), atol=NEAR)), None)
