"""Attributes of `self` as code: one name, or a path of modules within modules."""

from keyword import iskeyword


def member(path: str) -> str:
    """What lies at a path: `self.q_proj.linear`, `getattr(self, '0')`."""
    code = "self"
    for name in path.split("."):
        code = f"{code}.{name}" if is_name(name) else f"getattr({code}, {name!r})"
    return code


def assigned(path: str, made: str) -> str:
    """The statement that puts something there; what lies deeper is put by the library, with the modules above it."""
    return f"self.{path} = {made}" if is_name(path) else f"place(self, {path!r}, {made})"


def is_name(path: str) -> bool:
    """Whether it is the name of one attribute."""
    return path.isidentifier() and not iskeyword(path)
