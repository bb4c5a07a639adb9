"""Plans where the tensors of the parts lie on disk, and where in memory."""

from collections.abc import Sequence

from codegen.language.spec import Drop
from codegen.language.vision.sections import TowerOnDisk
from codegen.plan.body import glob_regex
from codegen.plan.types import Code
from codegen.plan.vision.asked import IN_INIT, Asked
from codegen.plan.vision.types import DiskPlan

PREFIXES = {
    "text": "language_model.model",
    "head": "language_model.lm_head",
    "vision": "vision_tower",
    "projector": "multi_modal_projector",
}
TOWER = "config.vision_config"
USUAL_HEAD = f"{TOWER}.hidden_size // {TOWER}.num_attention_heads"
HEADS = (f"{TOWER}.head_dim", USUAL_HEAD, f"{TOWER}.hidden_size // {TOWER}.num_heads")


def prefixes(asked: Asked) -> dict[str, tuple[str, str]]:
    """Where the four parts begin, on disk and in memory (as transformers' classes of 5.x have it)."""
    written = asked.loaded.spec.checkpoint.names or {}
    disk = {part: str(written.get(part, default)) for part, default in PREFIXES.items()}
    memory = {part: path if path.startswith("model.") else f"model.{path}" for part, path in disk.items()}
    memory["text"] = disk["text"] if disk["text"].startswith("model.") else "model.language_model"
    memory["head"] = "lm_head"
    return {part: (path, memory[part]) for part, path in disk.items()}


def plan_disk(asked: Asked, paths: dict[str, tuple[str, str]]) -> DiskPlan:
    """What the adapter says of the four parts, and of the tower inside its own."""
    spec = asked.loaded.spec
    pairs = [pair for part, pair in paths.items() if spec.projector or part != "projector"]
    if spec.projector:
        disk, memory = paths["projector"]
        named, held = spec.checkpoint.names or {}, spec.checkpoint.memory or {}
        beside, held_by = (path.rpartition(".")[0] for path in (disk, memory))
        vectors = {name: str(named.get(name, name)) for name in spec.parameters}
        pairs += [(f"{beside}.{path}".removeprefix("."), f"{held_by}.{name}") for name, path in vectors.items()]
        pairs += [(f"{disk}.{named.get(name, name)}", f"{memory}.{path}") for name, path in held.items()]
    tower = spec.checkpoint.vision or TowerOnDisk()
    return DiskPlan(
        tuple(pair for pair in pairs if pair[0] != pair[1]),
        tuple((str(disk), own) for own, disk in (tower.names or {}).items()),
        tuple((disk, fused.parts) for disk, fused in (tower.fused or {}).items()),
        tower.pairs or (),
        _head_size(asked) if tower.pairs else None,
    )


def dropped(asked: Asked, drops: Sequence[Drop]) -> list[str]:
    """Patterns of names on disk, as transformers' loader searches for them: with the prefix that they have in memory,
    but for the base model's own."""
    places = sorted(prefixes(asked).values(), key=lambda pair: len(pair[0]), reverse=True)
    found: list[str] = []
    for drop in drops:
        disk, memory = next((pair for pair in places if drop.match.startswith(f"{pair[0]}.")), ("", ""))
        path = (memory + drop.match.removeprefix(disk)).removeprefix("model.")
        found.append(rf"^(?:model\.)?{glob_regex(path).removeprefix('^')}")
    return found


def _head_size(asked: Asked) -> Code | None:
    """Rows of a head of the tower; None where it is what the library takes it for."""
    size = asked.first(HEADS, "checkpoint.vision.pairs")
    return None if size.text == USUAL_HEAD else IN_INIT.code(size)
