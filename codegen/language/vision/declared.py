"""The config class that a spec of images and text declares itself: around the text's, and a tower's of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from codegen.configs import ConfigClass, ConfigTable, table
from codegen.language.load import Node
from codegen.language.loaded import LoadedSpec, config_class

TEXT, TOWER = "text_config", "vision_config"


def with_parts(config: ConfigClass, root: Node, text: LoadedSpec, known: ConfigTable) -> ConfigClass:
    """The declared class with the fields of its text, which are those of the text spec's class, and of its tower.

    The tower's are the declared ones, over those that the family of the tower's class has for it.
    """
    held = dict(config.fields[TOWER] if isinstance(config.fields.get(TOWER), dict) else {})
    model_type = str(held.pop("model_type", ""))
    tower = {**_of_family(root, known), **held}
    parts = {
        TEXT: (text.config.model_type, text.config.class_name, False),
        TOWER: (model_type, f"{config.name.removesuffix('Config')}VisionConfig", False),
    }
    fields = {**config.fields, TEXT: dict(config_class(text, table()).fields), TOWER: tower}
    return replace(config, fields=fields, nested=config.nested | {TEXT, TOWER}, parts=parts)


def _of_family(root: Node, known: ConfigTable) -> dict[str, Any]:
    """What the config class of the tower's family says of towers, under the names that `vision.config` reads."""
    vision = (root.mapping or {}).get("vision")
    entries = (vision.mapping if vision is not None else None) or {}
    named = entries["tower"].value if "tower" in entries else ""
    family = known.for_model_type(str(named).rpartition(".")[0])
    fields: Mapping[str, Any] = {} if family is None else family.fields.get(TOWER) or {}
    found = {name: value for name, value in fields.items() if not isinstance(value, dict)}
    others = (entries["config"].mapping if "config" in entries else None) or {}
    for name, node in others.items():
        value = found.pop(name, None)
        if str(node.value).startswith(f"config.{TOWER}."):
            found[str(node.value).removeprefix(f"config.{TOWER}.")] = value
    return found
