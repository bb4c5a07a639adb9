"""What a search tells: the spec, what proves it, what nobody could tell, and where it ended if it proves nothing."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from codegen.language.frame import FRAME
from codegen.new.body import Body
from codegen.new.text import spec_text
from nemo_automodel.components.models.common.releases import VERSION
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.search import Found
from nemo_automodel.parity.infer.start import Start

NOTHING = "Nothing was written; print what was found with --stdout, or write a draft with --draft"
SHOWN = 6  # differences that are listed


def written(candidate: Candidate) -> str:
    """The text of a spec as a draft is laid out, without marks."""
    frame = {key: value for key, value in candidate.data.items() if key in FRAME}
    body = Body.copied({key: value for key, value in candidate.data.items() if key not in FRAME})
    body.tidy()
    return spec_text(frame, {}, body, [])


def as_dict(start: Start, found: Found) -> dict[str, Any]:
    """For programs. proven: whether nothing differs on any config that was varied."""
    stop = found.stop
    return {
        "command": "new",
        "exit_code": 0 if found.proven else 1,
        "name": start.draft.name,
        "spec": start.draft.spec,
        "source": start.draft.source,
        "kind": start.draft.kind,
        "nearest": start.draft.nearest,
        "proven": found.proven,
        "text": written(found.candidate),
        "against": f"transformers {VERSION} {start.subject.reference_class.__name__}",
        "configurations": found.cases,
        "refused": found.refused,
        "undetermined": found.undetermined,
        "doubts": [] if found.proven else [line for line in start.draft.uncertain if line.startswith("text")],
        "steps": found.steps,
        "open": (
            None
            if stop is None
            else {
                "what": stop.what,
                "configuration": stop.case,
                "components": {one.where: one.error for one in stop.inmost[:SHOWN]},
                "said": stop.said,
            }
        ),
        "tried": found.tried,
        "seconds": round(found.seconds, 1),
    }


def lines(told: Mapping[str, Any], options: Namespace) -> list[str]:
    """For people."""
    explain = options.explain
    made = [f"Seen in {told['source']}: {told['kind']}; drafted from {told['nearest']}"]
    shown = told["steps"] if explain else []
    made += [f"  {step}" for step in shown]
    number, spent = len(told["configurations"]), f"{told['tried']} specs tried in {told['seconds']} s"
    if told["proven"]:
        made.append(f"Proven against {told['against']}: {number} configurations; {spent}")
    else:
        made += [f"Not proven against {told['against']}: {spent}", *_open(told["open"])]
        made += [f"  In doubt: {line}" for line in told["doubts"]]
    if told["undetermined"]:
        made.append(f"Undetermined: no probe showed anything of {', '.join(told['undetermined'])}")
    made += [f"Left out: {line}" for line in told["refused"]] if explain else []
    if not options.stdout:
        made.append(f"Wrote: {told['spec']}" if told["proven"] else NOTHING)
    return made


def _open(stop: Mapping[str, Any]) -> list[str]:
    where = f" of configuration {stop['configuration']}" if stop["configuration"] else ""
    first = [f"  It differs first in {stop['what']}{where}" + (f": {stop['said']}" if stop["said"] else "")]
    return first + [f"    {path}: {error:.1e}" for path, error in stop["components"].items()]


def as_json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, default=str)
