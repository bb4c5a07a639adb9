"""What the reference's experts are given says of a router: it renormalizes where the sums of weights are the same for
every token; how many experts a token has."""

from collections.abc import Iterator
from typing import Any

from codegen.language.keys import keys
from codegen.language.mlp import Experts
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.mutant import Path

NEAR = 1e-4  # how far sums may be apart, and from a field's value: an epsilon may be among what they are divided by
ROUTER = ("mlp", "router")
TOP_K = ("mlp", "experts", "top_k")


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


def of_counts(candidate: Candidate, oracle: Oracle, batch: str) -> Iterator[tuple[Path, Any]]:
    """The number of experts of a token, where it is not what the config says: some classes know it by themselves."""
    counts = {one.indices.shape[1] for one in oracle.routing(batch).values()}
    chain = (one for one in keys(Experts)["top_k"].chain if candidate.config.has(one.removeprefix("config.")))
    said = str(candidate.body.get(*TOP_K) or next(chain, "")).removeprefix("config.")
    held = oracle.reference.config.to_dict().get(said)
    if len(counts) == 1 and held is not None and held not in counts:
        yield TOP_K, counts.pop()
