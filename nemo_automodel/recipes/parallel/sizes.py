"""How many processes go to each way of being parallel."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from nemo_automodel.recipes.mistakes import RecipeError, refuse, unknown

SECTION = "parallel"


@dataclass(frozen=True)
class Sizes:
    """Processes along each axis of the mesh, from the outermost to the innermost; their product is all processes.

    dp_replicate: copies of the sharded model. dp_shard: FSDP2. ep: experts, whose processes have batches of their own.
    pp: stages of layers. cp: pieces of a sequence. tp: columns and rows of projections.
    """

    dp_replicate: int = 1
    dp_shard: int = 1
    ep: int = 1
    pp: int = 1
    cp: int = 1
    tp: int = 1

    @property
    def batches(self) -> int:
        """How many processes have a batch that no other process has."""
        return self.dp_replicate * self.dp_shard * self.ep

    @property
    def sharing(self) -> int:
        """How many processes work on one batch together; their ranks follow one another."""
        return self.pp * self.cp * self.tp

    @property
    def only_data(self) -> bool:
        return self.ep == self.sharing == 1

    def named(self) -> dict[str, int]:
        return asdict(self)


NAMES = tuple(field.name for field in fields(Sizes))


def sizes_of(recipe: dict[str, Any], world_size: int) -> Sizes | None:
    """The section's sizes, None where there is none; `dp_shard`, where it is not said, takes the processes that are
    left.

    Raises:
        RecipeError: an axis that does not exist, no positive integer, or sizes whose product is not `world_size`.
    """
    section = recipe.get(SECTION)
    if section is None:
        return None
    refuse([*unknown(SECTION, section, NAMES, "a mesh"), *_no_counts(section)])
    said = math.prod(section.values())
    if "dp_shard" not in section and world_size % said == 0:
        return Sizes(**{**section, "dp_shard": world_size // said})
    if said != world_size:
        product = " x ".join(f"{name} {size}" for name, size in section.items())
        raise RecipeError(
            f"{SECTION}: {product or 'nothing'} is {said}, and there are {world_size} processes: start {said}"
            f"{'' if 'dp_shard' in section else ', or a multiple of it'} (--nproc-per-node), or change a size"
        )
    return Sizes(**section)


def _no_counts(section: dict[str, Any]) -> list[str]:
    return [
        f"{SECTION}.{name}: expected an integer of 1 or more, got {size!r:.80}"
        for name, size in section.items()
        if name in NAMES and (not isinstance(size, int) or isinstance(size, bool) or size < 1)
    ]
