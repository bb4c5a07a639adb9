"""What is published of a model of images and text: the fields of its config, and what its class tells by itself."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, cast

from codegen.configs import ConfigClass, table, vision_table
from codegen.frozen import Frozen
from codegen.new.kind import Kind

TEXT, TOWER = "text_config", "vision_config"


class Published(Frozen):
    """A config.json over the defaults of transformers' class, where it has one."""

    kind: Kind

    @property
    def model_type(self) -> str:
        return str(self.kind.whole.get("model_type", ""))

    @cached_property
    def known(self) -> ConfigClass | None:
        """transformers' class for the model type."""
        return vision_table().for_model_type(self.model_type)

    @property
    def model(self) -> Mapping[str, Any]:
        """What the class of the model tells; empty where there is none, or it could not be built."""
        return {} if self.known is None else self.known.model

    @property
    def beside(self) -> Mapping[str, Mapping[str, Any]]:
        """Modules of the class beside tower and text."""
        return self.model.get("beside", {})

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """What the fields of the whole hold, under all their names."""
        held = {} if self.known is None else {**self.known.fields}
        held |= {name: value for name, value in self.kind.whole.items() if name not in (TEXT, TOWER)}
        if self.known is not None:
            held |= {alias: held.get(name) for alias, name in self.known.attribute_map.items()}
        return {**held, TEXT: self.text, TOWER: self.tower}

    @cached_property
    def text(self) -> Mapping[str, Any]:
        """The same of the text's config."""
        own = self.default(TEXT)
        model_type = str(self.kind.text.get("model_type", own))
        found = table().for_model_type(model_type)
        return {**self._inner(TEXT, model_type), **({} if found is None else found.fields), **self.kind.text}

    @cached_property
    def tower(self) -> Mapping[str, Any]:
        """The same of the tower's."""
        given: Any = self.kind.whole.get(TOWER)
        given = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        return {**self._inner(TOWER, str(given.get("model_type", self.default(TOWER)))), **given}

    def has(self, before: str, name: str) -> bool:
        """Whether specs can read a field, of the whole (`config`) or of a config inside (`config.vision_config`)."""
        path = f"{before}.{name}".removeprefix("config.")
        return self.known.has(path) if self.known is not None else True

    def default(self, part: str) -> str:
        """The model type that a part has by itself."""
        return "" if self.known is None else self.known.parts[part][0]

    def _inner(self, part: str, model_type: str) -> Mapping[str, Any]:
        """The defaults of the class of a part: of this model's, or where it has another, as another model holds it."""
        for row in (self.known, *_rows()):
            if row is not None and row.parts[part][0] == model_type:
                return row.fields[part] or {}
        return {}

    @property
    def text_width(self) -> int:
        return _number(self.text.get("hidden_size"))

    @property
    def tower_width(self) -> int:
        return _number(self.tower.get("hidden_size"))

    @property
    def rows_width(self) -> int:
        """How wide rows leave the tower: features of several layers stand beside each other."""
        layers: Any = self.fields.get("vision_feature_layer")
        return self.tower_width * (len(cast("list[Any]", layers)) if isinstance(layers, list) else 1)

    def module(self, prefix: str | None) -> Mapping[str, Any]:
        """The module of the class that lies at a prefix on disk; the only one where it lies elsewhere in memory."""
        name = (prefix or "").rpartition(".")[2]
        return self.beside.get(name, next(iter(self.beside.values())) if len(self.beside) == 1 else {})


def _rows() -> Iterator[ConfigClass | None]:
    return map(vision_table().get, vision_table())


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
