"""What was proven of each model, and with which releases: the record that `codegen parity --record` keeps.

One line a model in `proofs.json` beside the folders of pages (`docs/model-coverage` here), so that proofs of two models
never meet in a merge. A proof is of the code that was generated then: with other code, it is `outdated`.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

RECORD = "proofs.json"


class Proof(NamedTuple):
    """What one run of the proof found. `worst`: the largest fp32 error, as a part of the reference's largest value, of
    what was held to `bound`; `bf16`: the largest ratio of distances to the fp32 truth, ours to the reference's."""

    transformers: str
    checks: int
    worst: float
    bound: float
    bf16: float


class Proven(NamedTuple):
    """The proofs of one model, the newest release first; `code` is the `fingerprint` of what was proven."""

    code: str
    proofs: tuple[Proof, ...]


def fingerprint(files: Mapping[str, str], models: str) -> str:
    """What identifies the code of a model: `files` are digests by path, of which those below `models` count."""
    listed = sorted(f"{path} {digest}" for path, digest in files.items() if path.startswith(f"{models}/"))
    return sha256("\n".join(listed).encode()).hexdigest()[:16]


def parsed(record: bytes | None) -> dict[str, Proven]:
    """Model -> its proofs. No record, or one that cannot be read, proves nothing."""
    try:
        lines: dict[str, Any] = json.loads(record or b"{}")
        return {
            name: Proven(line["code"], tuple(Proof(*one) for one in line["proofs"])) for name, line in lines.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def with_proof(record: bytes | None, name: str, code: str, proof: Proof) -> bytes:
    """The record with one more proof, in place of the same release's; what was proven of other code is dropped."""
    known = parsed(record)
    others = known[name].proofs if name in known and known[name].code == code else ()
    proofs = [proof, *(other for other in others if other.transformers != proof.transformers)]
    known[name] = Proven(code, tuple(sorted(proofs, key=lambda one: _release(one.transformers), reverse=True)))
    rows = (f"{json.dumps(key)}: {json.dumps(known[key]._asdict())}" for key in sorted(known))
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
