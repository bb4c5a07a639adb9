"""Adapters by peft: on a model that was loaded, and in folders that hold nothing but one and name their base."""

import json
import os

from transformers.utils import CONFIG_NAME, find_adapter_config_file

ADAPTER_HUB_KEYS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


def base_of(place, kwargs):
    """The checkpoint that a folder (or repository) of an adapter names; None where it is a checkpoint itself.

    Raises ValueError where the adapter names none.
    """
    if place is None or os.path.exists(os.path.join(place, CONFIG_NAME)):
        return None
    found = find_adapter_config_file(place, **{key: kwargs[key] for key in ADAPTER_HUB_KEYS if key in kwargs})
    if found is None:
        return None
    with open(found, encoding="utf-8") as file:
        base = json.load(file).get("base_model_name_or_path")
    if not base:
        raise ValueError(
            f"{place} holds an adapter whose adapter_config.json names no base_model_name_or_path: name one"
        )
    return base


def with_adapters(model, peft_config):
    """The model itself, or one of peft with fresh adapters."""
    if peft_config is None:
        return model
    from peft import get_peft_model

    return get_peft_model(model, peft_config)
