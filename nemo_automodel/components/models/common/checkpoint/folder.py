"""What stands around the weights in a folder, looked at before anything is loaded: config.json and the index of shards.

What transformers or torch would meet with an error that names no file becomes a ValueError that says which.
"""

import json
import os
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from safetensors import SafetensorError

from nemo_automodel.components.models.common.checkpoint.config_loading import naming
from nemo_automodel.components.models.common.checkpoint.files import AGAIN, stored_tensors

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WEIGHTS = ("model.safetensors", INDICES[0], "pytorch_model.bin", INDICES[1])  # in the order in which they are taken

MOST_LAYERS = 1000  # that are built, on meta, to be compared with the tensors


class ConfigFault(ValueError):
    """The config describes no model; the place of the file is not known yet."""


@contextmanager
def naming_faults(place, subfolder=""):
    """Within, an error that names no file becomes a ValueError that does."""
    try:
        yield
    except ConfigFault as error:
        raise ValueError(f"{place}: config.json describes no model: {error}") from error
    except ValueError as error:
        raise naming(place, error) from error
    except SafetensorError as error:
        with stored_tensors(sorted(Path(place or ".", subfolder).glob("*.safetensors"))):
            raise ValueError(f"{place}: a file cannot be read: {error}; {AGAIN}") from error


class BuildingFaults:
    """Within, what goes wrong in building a model of a config is a ConfigFault; unknown keywords stay TypeErrors."""

    FOREIGN = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, self.FOREIGN) or isinstance(error, NotImplementedError):
            return
        if trace.tb_next is None:  # the call itself: its arguments
            return
        raise ConfigFault(f"{kind.__name__}: {error}; mend the size or the type of the field") from error


@contextmanager
def naming_generation_config(place):
    """Within, what transformers finds in generation_config.json becomes a ValueError that names it."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{place}: generation_config.json is no config: {error}; {AGAIN}, or take it away") from error


def refuse_broken_index(folder, subfolder="", variant=None, layers=0):
    """Reads the index of shards that a folder would be loaded by; other sources than folders are none of ours.

    Raises ValueError where it is no index, where a shard that it names lies elsewhere or is not there, or where there
    are more `layers` than tensors, and than could be built.
    """
    if not os.path.isdir(folder or ""):
        return
    base = Path(folder, subfolder)
    index = next((base / name for name in WEIGHTS if (base / _varied(name, variant)).is_file()), None)
    if index is None:
        return
    path = base / _varied(index.name, variant)
    stored = _stored(path)
    if (layers or 0) > max(len(stored), MOST_LAYERS):
        raise ValueError(f"{path}: config.json has {layers} layers, and there are {len(stored)} tensors; mend it")
    for shard, name in first_of_each(stored).items():
        if not (base / shard).is_file():
            raise ValueError(f"{path}: {name} is in {shard}, which is not there; fetch it")


def _stored(path):
    """{tensor: file} of the file by which a folder is loaded; of a pickle, nothing."""
    if path.suffix == ".json":
        return shards(path)
    if path.suffix != ".safetensors":
        return {}
    with stored_tensors([path]) as found:
        return dict.fromkeys(found, path.name)


def shards(path):
    """{tensor: file} of an index. Raises ValueError, naming it, where it is none or a file lies outside its folder."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); {AGAIN}") from None
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{path}: weight_map is no mapping of tensors to files; {AGAIN}")
    if not isinstance(found.get("metadata", {}), dict):
        raise ValueError(f"{path}: metadata is no mapping; {AGAIN}")
    for file, name in first_of_each(places).items():
        refuse_outside(path, name, file)
    return places


def first_of_each(places):
    """{file: the first of its tensors} of {tensor: file}."""
    return {file: name for name, file in reversed(places.items())}


def refuse_outside(path, name, file):
    """Raises ValueError for a name of a shard that is no plain path below its folder."""
    parts = {*PurePosixPath(file).parts, *PureWindowsPath(file).parts}
    if not file or ".." in parts or "\0" in file or PurePosixPath(file).is_absolute() or PureWindowsPath(file).anchor:
        raise ValueError(f"{path}: {name} is said to be in {file!r}, outside the folder: do not load this checkpoint")


def _varied(name, variant):
    return name if variant is None else name.replace(".safetensors", f".{variant}.safetensors", 1)
