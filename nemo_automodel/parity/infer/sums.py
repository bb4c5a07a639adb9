"""What the sums of experts' weights say of a router: where they are the same for every token, it renormalizes them."""

from collections.abc import Iterator
from typing import Any

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.mutant import Path

NEAR = 1e-4  # how far sums may be apart, and from a field's value: an epsilon may be among what they are divided by
ROUTER = ("mlp", "router")


def of_sums(candidate: Candidate, oracle: Oracle, batch: str) -> Iterator[tuple[Path, Any]]:
    """Routers that renormalize, with each field that the sum may be; nothing where sums differ among tokens."""
    found = [one.dense().sum(dim=1) for one in oracle.routing(batch).values()]
    if not found or any((one - one[0]).abs().max() > NEAR * one[0].abs() for one in found):
        return
    said = candidate.body.get(*ROUTER)
    router: dict[str, Any] = {"renormalize": True, **(said if isinstance(said, dict) else {})}
    total = found[0][0].item()
    if abs(total - 1) < NEAR:
        yield ROUTER, {name: value for name, value in router.items() if name != "scale"}
    mixture = candidate.body.section("mlp")
    for name, value in oracle.reference.config.to_dict().items():
        if type(value) in (int, float) and abs(total - value) < NEAR * abs(value):
            scaled = {**router, "scale": f"config.{name}"}
            if f"config.{name}" == mixture.get("scale"):  # what the draft takes for a factor of all that comes out
                yield ROUTER[:1], {key: one for key, one in mixture.items() if key != "scale"} | {"router": scaled}
            yield ROUTER, scaled
