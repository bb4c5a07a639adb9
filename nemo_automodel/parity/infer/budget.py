"""How long a search may take."""

import time
from collections.abc import Callable

Clock = Callable[[], float]


class Budget:
    """Begins when it is made. seconds: of the clock."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self.clock, self.seconds, self.began = clock, seconds, clock()

    @property
    def taken(self) -> float:
        return self.clock() - self.began

    @property
    def is_spent(self) -> bool:
        return self.taken > self.seconds
