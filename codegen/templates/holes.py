"""Stand-ins for holes, so that templates import, lint and can be tested like any module."""

from typing import Any


class Hole:
    """Whatever the plan will put here. Class bodies of templates run at import, so a hole yields holes and is true."""

    def __getattr__(self, name: str) -> Any:
        return Hole()


hole: Any = Hole()
stmts: Any = Hole()
when: Any = Hole()
