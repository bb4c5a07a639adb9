"""The registry of architectures: a file that people keep, in which generated models have entries."""

from collections.abc import Callable, Iterable

from codegen.artifacts import RegistryEntry
from codegen.edits.literal import Entry, Literal, edit, find
from codegen.errors import ConflictError
from codegen.places import HERE, Places

ARCHITECTURES = "MODEL_ARCH_MAPPING"
TYPES = "MODEL_TYPE_MAPPING"
TEXTS = "MODEL_TEXT_MAPPING"
CONFIGS = "_CUSTOM_CONFIG_REGISTRATIONS"


def updated(
    data: bytes, entries: Iterable[RegistryEntry], is_gone: Callable[[str], bool], places: Places = HERE
) -> bytes:
    """The registry's content with exactly the entries of the generated models, and every foreign one untouched.

    An entry to a generated module is its spec's: under a name that the spec no longer says (an alias, another text) it
    goes.

    Args:
        data: the file's content.
        entries: one for each generated model.
        is_gone: whether the module file at a path does not exist, or is a generated one that is being deleted.
        places: where the registry and the models stand.

    Raises:
        SpecError: the file has a shape that cannot be edited.
        ConflictError: an architecture or a model type is registered by hand to another module.
    """
    listed, path = list(entries), places.registry
    ours = {entry.module.rpartition(".")[0] for entry in listed}

    def is_free(entry: Entry) -> bool:
        return _module(entry).rpartition(".")[0] in ours or _stale(entry, is_gone, places)

    architectures = {name: (entry.module, entry.class_name) for entry in listed for name in entry.architectures}
    configs = {entry.config[0]: entry.config[1:] for entry in listed if entry.config is not None}
    data = _edited(find(data, path, ARCHITECTURES, pairs=True), architectures, is_free)
    if TYPES.encode() in data:  # a registry without it finds models by their architectures alone
        types = {entry.model_type: (entry.module, entry.class_name) for entry in listed if entry.model_type is not None}
        data = _edited(find(data, path, TYPES, pairs=False), types, is_free)
    if TEXTS.encode() in data:
        texts = {key: (entry.module, entry.class_name) for entry in listed for key in entry.texts}
        data = _edited(find(data, path, TEXTS, pairs=False), texts, is_free)
    if not configs and CONFIGS.encode() not in data:
        return data
    return _edited(find(data, path, CONFIGS, pairs=False), configs, is_free)


def _edited(literal: Literal, wanted: dict[str, tuple[str, str]], is_free: Callable[[Entry], bool]) -> bytes:
    """is_free: whether an entry is one that codegen made, or that leads nowhere."""
    for entry in literal.entries:
        value = wanted.get(entry.key)
        if value is not None and entry.value[:2] != value and not is_free(entry):
            module = _module(entry) or "something else"
            raise ConflictError(
                f"{entry.location}: {literal.name}: {entry.key!r} is registered by hand to {module}, but a spec"
                f" generates it as {value[0]}; remove the entry or the spec"
            )
    return edit(literal, wanted, is_free)


def _module(entry: Entry) -> str:
    return entry.value[0] if entry.value else ""


def _stale(entry: Entry, is_gone: Callable[[str], bool], places: Places) -> bool:
    """Whether the entry names a module of one model's package that is gone."""
    module, models = _module(entry), f"{places.package}."
    *package, file = module.removeprefix(models).split(".")
    if not module.startswith(models) or not all(map(str.isidentifier, package)) or file not in ("model", "config"):
        return False
    return is_gone(f"{places.models}/{'/'.join((*package, file))}.py")
