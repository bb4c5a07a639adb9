"""No key of an accepted spec is idle: with another value there, something else is generated, or it is refused."""

import pytest

from tests.random_specs.drawing import draw
from tests.random_specs.fields import framed
from tests.random_specs.heeded import unheeded

SEEDS = range(200, 230)


def test_every_key_is_heeded() -> None:
    found = {seed: paths for seed in SEEDS if (paths := unheeded(draw(seed)))}
    assert not found, found


def test_an_idle_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure itself: what is compared lacks all that a key says, as if nothing had read it."""
    spec = framed("idle", {"attention": {"softcap": 1.3, "window": 5}})
    assert unheeded(spec) == []
    monkeypatch.setattr("codegen.plan.mixers.softmax.OPTIONAL", ("window",))
    monkeypatch.setattr("codegen.plan.body.shared_flags", lambda context: [])
    monkeypatch.setattr("codegen.plan.head.shared_flags", lambda context: [])
    assert unheeded(spec) == ["attention.softcap"]
