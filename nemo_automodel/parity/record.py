"""Keeps what a proof found: see `codegen.run.proofs`."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from codegen.errors import CodegenError
from codegen.places import places
from codegen.run.proofs import RECORD, Proof, fingerprint, with_proof
from codegen.write.single import change_file
from nemo_automodel.components.models.common.releases import VERSION
from nemo_automodel.parity.proof import Result
from nemo_automodel.parity.tolerances import BF16_RATIO


def record(root: Path, name: str, results: Sequence[Result]) -> None:
    """Enters the proof of a model, all of whose checks pass, into the tree's record.

    Raises:
        ConflictError, WriteError: the record cannot be written.
        CodegenError: the tree has no folder for it.
    """
    at = places(str(root))
    if at.docs is None:
        raise CodegenError("[tool.codegen] switches docs off, where proofs are kept; give it a folder")
    package = root / at.models / name
    paths = ((path.relative_to(root).as_posix(), path) for path in package.rglob("*.py"))
    files = {shown: sha256(path.read_bytes()).hexdigest() for shown, path in paths}
    proof = summary(results)
    code = fingerprint(files, at.models)
    change_file(str(root), f"{at.docs}/{RECORD}", lambda old: with_proof(old, name, code, proof))


def summary(results: Sequence[Result]) -> Proof:
    """How many checks there were, and the worst of each kind."""
    checks = [check for result in results for check in result.checks]
    bounded = [check for check in checks if 0 < check.bound < BF16_RATIO]
    worst = max(bounded, key=lambda check: check.error / check.bound)
    ratios = [check.error for check in checks if check.bound == BF16_RATIO]
    return Proof(VERSION, len(checks), _two(worst.error), _two(worst.bound), _two(max(ratios, default=0.0)))


def _two(number: float) -> float:
    """Two digits, as they are told."""
    return float(f"{number:.1e}")
