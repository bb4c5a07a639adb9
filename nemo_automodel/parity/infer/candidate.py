"""A spec in the making: its text, what the language makes of it, and the files that would be generated."""

from collections.abc import Iterator
from functools import cached_property

from transformers.activations import ACT2FN

from codegen.configs import ConfigClass, table
from codegen.errors import CodegenError, SpecError
from codegen.language.check import read_text
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.spec import Spec
from codegen.new.body import Body
from codegen.plan.model import build
from codegen.plan.names import disk_name, name_in_memory
from codegen.render.files import model_files
from codegen.tiny.configs import configs, is_dropout
from nemo_automodel.parity.infer.variants import Config, held, structural, unread
from nemo_automodel.parity.mutant import Data, dumped
from nemo_automodel.parity.sandbox import PLACES

PARTS = ("attention", "mlp")  # that layers hold and equations call


class Candidate:
    """One text of a spec. `path` is where it would stand."""

    def __init__(self, data: Data, path: str) -> None:
        self.data, self.path = data, path

    @classmethod
    def read(cls, text: str, path: str) -> "Candidate":
        return cls(load(text, path).plain(), path)

    def with_(self, data: Data) -> "Candidate":
        """The same with another text."""
        return type(self)(data, self.path)

    @property
    def body(self) -> Body:
        """What it says, by paths."""
        return Body(self.data)

    @cached_property
    def text(self) -> str:
        return dumped(self.data)

    @cached_property
    def spec(self) -> LoadedSpec:
        """Raises SpecError where the text is no spec."""
        return read_text(self.text, self.path)

    @cached_property
    def problems(self) -> list[str]:
        """Dotted keys of what is wrong with it as a text; none: files can be generated."""
        try:
            _ = self.files
        except SpecError as error:
            return [one.path for one in error.problems]
        except CodegenError as error:
            return [str(error).split("\n")[0]]
        except Exception as error:  # a fault of the generator, which must not end the search
            return [f"the generator ends with {type(error).__name__}: {error}"]
        return []

    @cached_property
    def config(self) -> ConfigClass:
        return config_class(self.spec, table())

    @cached_property
    def files(self) -> dict[str, str]:
        return model_files(build(self.spec, self.config, PLACES), lambda source, _: source)

    @property
    def lines(self) -> int:
        """How many the generated files have."""
        return sum(source.count("\n") for source in self.files.values())

    def configs(self) -> dict[str, Config]:
        """The strong tiny configs of what it reads, `base` first. Raises CodegenError where there are none."""
        return configs(self.spec, table())

    def unread(self) -> list[str]:
        """Fields of the config that it does not read."""
        return unread(self.spec, self.config)

    def unvaried(self) -> list[str]:
        """Fields of the config that its own configs leave as they are: those that it does not read, and names of
        functions, which it may read where the model does not."""
        fields = self.config.fields
        named = [name for name in self.structural() if isinstance(one := held(fields, name), str) and one in ACT2FN]
        return list(dict.fromkeys([*self.unread(), *named]))

    def structural(self) -> list[str]:
        """Fields of the config by which models may differ otherwise than in a size or in training."""
        return structural(self.config)

    def dropped(self) -> list[str]:
        """Fields of probabilities that act elsewhere than on the weights of attention."""
        said = [
            str(value) for path, value in self.body.leaves() if path[-2:-1] == ("dropout",) and path[-1] != PARTS[0]
        ]
        return [name for name in self.config.fields if is_dropout(name) and f"config.{name}" in said]

    def flats(self) -> Iterator[Spec]:
        return iter(self.spec.flat.values())

    def names_of(self, part: str, memory: bool = False) -> set[str]:
        """What a part is called in the layers of some kind: on disk, or in memory."""
        return {(name_in_memory if memory else disk_name)(flat, part) for flat in self.flats()}

    def model(self, memory: bool = False) -> str:
        """The path of what holds the layers."""
        return (name_in_memory if memory else disk_name)(next(self.flats()), "model")

    def layers(self, memory: bool = False) -> str:
        """The path of the list of layers."""
        names = (name_in_memory if memory else disk_name)(next(self.flats()), "layers")
        return ".".join(filter(None, (self.model(memory), names)))
