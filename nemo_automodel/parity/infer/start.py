"""Where a search starts: the draft of a spec, and transformers' class that it is judged by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedModel

from codegen.configs import table
from codegen.errors import CodegenError, Problem
from codegen.language.frame import FrameReader
from codegen.language.load import load
from codegen.new import draft
from codegen.new.kind import VLM
from codegen.new.report import Draft
from codegen.new.source import read
from codegen.new.values import GENERIC
from nemo_automodel.components.models.common.releases import VERSION
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.subject import Subject, transformers_class

CURE = "leave --prove out for a draft"


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
        CodegenError: what is there is no config, or transformers has no class for it.
    """
    drafted = draft(path, root, name, write=False)
    if drafted.kind == VLM:
        raise CodegenError(f"{path}: specs of images and text are drafted, and not searched for yet; {CURE}")
    subject = _subject(drafted, path)
    own = {name: value for name, value in read(path).config.items() if name not in GENERIC}
    return Start(drafted, Candidate.read(drafted.text, drafted.spec), subject, own)


def _subject(drafted: Draft, path: Path) -> Subject:
    """transformers' config class and model class; of ours the name alone is known."""
    found: list[Problem] = []
    frame = FrameReader(load(drafted.text, drafted.spec), table(), found.append).read()
    config_class = getattr(transformers, frame.declaration.class_name, None)
    if frame.config is None or config_class is None:
        what = f"transformers {VERSION} has no {frame.declaration.class_name}"
        raise CodegenError(f"{path}: {what}: only its own classes are run here, so nothing can prove the spec; {CURE}")
    try:
        reference = transformers_class(config_class, frame.architectures[0])
    except LookupError as error:
        raise CodegenError(f"{path}: {error}; {CURE}") from error
    return Subject(type(frame.architectures[0], (PreTrainedModel,), {}), config_class, reference)
