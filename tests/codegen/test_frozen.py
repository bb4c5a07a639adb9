"""The base class of frozen dataclasses: what the standard library's would do."""

import copy
import pickle
from dataclasses import FrozenInstanceError, field, fields, replace

import pytest

from codegen.frozen import Frozen


class Point(Frozen):
    x: int
    y: int = 2
    seen: list[int] = field(default_factory=list[int], compare=False)


class Named(Point, kw_only=True):
    name: str = "origin"


def test_values_come_by_place_by_name_and_by_default() -> None:
    point = Point(1, seen=[3])
    assert (point.x, point.y, point.seen) == (1, 2, [3])
    assert Point(1).seen is not Point(1).seen
    named = Named(1, name="a")
    assert (named.x, named.name, [one.name for one in fields(named)]) == (1, "a", ["x", "y", "seen", "name"])


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "needs x"),
        ((1,), {"x": 1}, "once"),
        ((1, 2, [], 4), {}, "once"),
        ((1,), {"z": 1}, "no field z"),
    ],
)
def test_wrong_values_are_refused(values, named, message) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*values, **named)


def test_nothing_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del Point(1).x  # type: ignore[misc]
    assert replace(Point(1), y=5) == Point(1, 5)


def test_equality_is_of_the_compared_fields_and_the_class() -> None:
    assert Point(1, seen=[1]) == Point(1) != Point(2)
    assert hash(Point(1, seen=[1])) == hash(Point(1))
    assert Point(1) != Named(1)
    assert pickle.loads(pickle.dumps(Point(1))) == copy.deepcopy(Point(1)) == Point(1)
    assert repr(Point(1)) == "Point(x=1, y=2, seen=[])"
