"""Where a search starts: the draft of a spec, and transformers' class that it is judged by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedModel

from codegen.configs import table, vision_table
from codegen.errors import NoReferenceError, Problem
from codegen.language.frame import FrameReader
from codegen.language.load import load
from codegen.language.vision.check import ImageTextFrame
from codegen.new import draft
from codegen.new.kind import VLM
from codegen.new.report import Draft
from codegen.new.source import read
from codegen.new.values import GENERIC
from codegen.new.vision.published import TEXT, TOWER
from codegen.places import places
from nemo_automodel.components.models.common.releases import VERSION
from nemo_automodel.components.models.common.vision.causal import ImageTextLM
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.of_images import ImageCandidate
from nemo_automodel.parity.project import make_importable
from nemo_automodel.parity.subject import Subject, transformers_class


@dataclass(frozen=True)
class Start:
    """A draft, as a candidate, and what it is judged by. own: the published config."""

    draft: Draft
    candidate: Candidate
    subject: Subject
    own: dict[str, Any]


def start(path: Path, root: Path, name: str | None) -> Start:
    """From a checkpoint folder or a config.json. Nothing that lies there is run.

    Raises:
        CodegenError: what is there is no config.
        NoReferenceError: transformers has no class for it.
    """
    drafted = draft(path, root, name, write=False)
    subject = _subject(drafted, path, root)
    images = drafted.kind == VLM
    apart = GENERIC - {TEXT, TOWER} if images else GENERIC
    own = {name: value for name, value in read(path).config.items() if name not in apart}
    data = load(drafted.text, drafted.spec).plain()
    if images:
        make_importable(root.resolve())  # for the model of its text
    candidate = ImageCandidate(data, drafted.spec, root) if images else Candidate(data, drafted.spec)
    return Start(drafted, candidate, subject, own)


def _subject(drafted: Draft, path: Path, root: Path) -> Subject:
    """transformers' config class and model class; of ours the name alone is known."""
    found: list[Problem] = []
    images, node = drafted.kind == VLM, load(drafted.text, drafted.spec)
    folder = root / places(str(root)).specs
    whole = ImageTextFrame(node, vision_table(), found.append, folder, root) if images else None
    frame = (whole or FrameReader(node, table(), found.append)).read()
    config_class = getattr(transformers, frame.declaration.class_name, None)
    if frame.config is None or config_class is None:
        what = f"transformers {VERSION} has no {frame.declaration.class_name}"
        raise NoReferenceError(f"{path}: {what}, and only its own classes are run here: nothing can prove the spec")
    try:
        reference = transformers_class(config_class, frame.architectures[0], images)
    except LookupError as error:
        raise NoReferenceError(f"{path}: {error}") from error
    bases = (ImageTextLM, PreTrainedModel) if images else (PreTrainedModel,)
    return Subject(type(frame.architectures[0], bases, {}), config_class, reference)
