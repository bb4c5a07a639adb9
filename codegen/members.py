"""Attributes of `self` as code: one name, or a path of modules within modules."""

from keyword import iskeyword


def member(path: str) -> str:
    """What lies at a path: `self.q_proj.linear`; a module that is called by a number: `self.get_submodule('0')`."""
    names = path.split(".")
    strange = max((at for at, name in enumerate(names, 1) if not is_name(name)), default=0)
    start = f"self.get_submodule({'.'.join(names[:strange])!r})" if strange else "self"
    return ".".join((start, *names[strange:]))


def assigned(path: str, made: str) -> str:
    """The statement that puts something there; what lies deeper is put by the library, with the modules above it."""
    return f"self.{path} = {made}" if is_name(path) else f"place(self, {path!r}, {made})"


def is_name(path: str) -> bool:
    """Whether it is the name of one attribute."""
    return path.isidentifier() and not iskeyword(path)
