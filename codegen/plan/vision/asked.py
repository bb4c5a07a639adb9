"""Asking a spec of images and text: explicit values and default chains."""

from codegen.configs import ConfigClass
from codegen.errors import Problem, SpecError
from codegen.frozen import Frozen
from codegen.language.expressions import config_paths
from codegen.language.keys import Section, key_of
from codegen.language.values import Expression, expression
from codegen.language.vision.loaded import LoadedImageText
from codegen.plan.scope import Scope

IN_INIT = Scope(names={})  # where the argument `config` is at hand
IN_METHOD = Scope("self.config", {})


class Asked(Frozen):
    """A loaded spec with its config class."""

    loaded: LoadedImageText

    @property
    def config(self) -> ConfigClass:
        return self.loaded.config_class

    def value(self, section: Section, name: str, path: str) -> Expression:
        """What the spec says for an expression key, else the first default of which the config class has the fields."""
        written = getattr(section, name)
        return written if written is not None else self.first(key_of(type(section), name).chain, f"{path}.{name}")

    def first(self, chain: tuple[str, ...], path: str) -> Expression:
        """The first of these that the config class has with a value; else the first that it has at all."""
        candidates = [expression(text) for text in chain]
        for filled in (True, False):
            for candidate in candidates:
                if self.has(candidate, filled):
                    return candidate
        message = f"is not written and {self.config.name} has no default for it ({', '.join(chain)})"
        raise self.unready(message, path, f"write {path.rpartition('.')[2]}: ...")

    def has(self, candidate: Expression, filled: bool = True) -> bool:
        """Whether the config class has every field that is read, and (`filled`) a value in it."""
        paths = list(config_paths(candidate.tree))
        return all(self.config.has(path) and not (filled and self.config.value(path) is None) for path in paths)

    def unready(self, message: str, path: str, cure: str) -> SpecError:
        """What has no template yet, at its place."""
        return SpecError([Problem(self.loaded.place(path), path, message, cure)])
