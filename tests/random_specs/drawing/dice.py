"""Chances and choices."""

from random import Random
from typing import Any


class Dice:
    """`dice(0.2)`: true in one of five cases; `dice.of(a, b)`: one of them."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def __call__(self, chance: float) -> bool:
        return self.random.random() < chance

    def of(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def some(self, choices: list[Any], most: int) -> list[Any]:
        """Between one and `most` of them."""
        return self.random.sample(choices, min(len(choices), self.random.randint(1, most)))

    def maybe(self, **chances: tuple[float, Any]) -> dict[str, Any]:
        """name=(chance, value): those that fall; a value that is a list is one of its elements."""
        found = {}
        for name, (chance, value) in chances.items():
            if self(chance):
                found[name.rstrip("_")] = self.of(*value) if isinstance(value, list) else value
        return found

    def factor(self) -> Any:
        return self.of(0.37, 1.7, "config.mult", "config.mult ** 0.5", "1 / config.mult")
