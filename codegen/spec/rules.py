"""Rules across keys, checked on every flat spec."""

from collections.abc import Iterator

from codegen.configs import ConfigClass
from codegen.errors import Problem
from codegen.spec.frame import Frame
from codegen.spec.resolve import Resolved


def problems(resolved: Resolved, frame: Frame, config: ConfigClass) -> Iterator[Problem]:
    """What is wrong although every key by itself is right."""
    yield from ()
