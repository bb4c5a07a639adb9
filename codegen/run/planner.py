"""Plans of specs: from a second process, which imports what plans while the first finds out which specs changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codegen.memory.child import Worker, processors

if TYPE_CHECKING:
    from codegen.plan.types import SpecPlan  # at run time only where something is planned
    from codegen.plan.vision.types import ImageTextSpecPlan


class Planner:
    """Plans here, unless it was told early of few specs and there is a processor for a second process.

    Args:
        early: start that process now, before anybody knows what it will be asked.
    """

    def __init__(self, early: bool = False) -> None:
        self._worker = Worker(_import, _plans) if early and processors() > 1 else None
        self._plans: dict[str, SpecPlan | ImageTextSpecPlan | None] = {}

    def expect(self, paths: Sequence[str], root: str) -> None:
        """Say which specs `plan` will be asked for; nobody waits yet. With none, or many, it is done here."""
        try:
            if self._worker is not None and paths:
                self._worker.ask((paths, root))
            else:
                self._close()
        except BrokenPipeError:
            self._close()

    def plan(self, path: str, root: str) -> "SpecPlan | ImageTextSpecPlan":
        """The plan of one spec.

        Raises:
            SpecError: the spec is wrong, or asks for something that has no template yet.
        """
        if self._worker is not None:
            self._plans = self._received(self._worker)
            self._close()
        return self._plans.get(path) or planned(path, root)

    def _received(self, worker: Worker) -> "dict[str, SpecPlan | ImageTextSpecPlan | None]":
        try:
            return worker.answer()
        except EOFError:
            return {}

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def planned(path: str, root: str) -> "SpecPlan | ImageTextSpecPlan":
    """The plan of one spec, made here."""
    from codegen.generate import plan_any, read_any
    from codegen.places import places

    return plan_any(read_any(Path(root, path), Path(root)), places(root))


def _import() -> None:
    import codegen.generate as _
    import codegen.language.check as _  # noqa: F401, F811


def _plans(request: tuple[Sequence[str], str]) -> "dict[str, SpecPlan | ImageTextSpecPlan | None]":
    paths, root = request
    return {path: _plan_or_none(path, root) for path in paths}


def _plan_or_none(path: str, root: str) -> "SpecPlan | ImageTextSpecPlan | None":
    """None for a wrong spec, which is read again where its problems are told."""
    from codegen.errors import SpecError

    try:
        return planned(path, root)
    except SpecError:
        return None
