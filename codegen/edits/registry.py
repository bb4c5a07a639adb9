"""The registry of architectures: a file that people keep, in which generated models have entries."""

from collections.abc import Callable, Iterable

from codegen.artifacts import RegistryEntry
from codegen.edits.literal import Entry, Literal, edit, find
from codegen.errors import ConflictError
from codegen.layout import MODELS, REGISTRY

ARCHITECTURES = "MODEL_ARCH_MAPPING"
TYPES = "MODEL_TYPE_MAPPING"
TEXTS = "MODEL_TEXT_MAPPING"
CONFIGS = "_CUSTOM_CONFIG_REGISTRATIONS"
_PACKAGE = MODELS.replace("/", ".") + "."


def updated(data: bytes, entries: Iterable[RegistryEntry], is_gone: Callable[[str], bool]) -> bytes:
    """The registry's content with exactly the entries of the generated models, and every foreign one untouched.

    An entry to a generated module is its spec's: under a name that the spec no longer says (an alias, another text) it
    goes.

    Args:
        data: the file's content.
        entries: one for each generated model.
        is_gone: whether the module file at a path does not exist, or is a generated one that is being deleted.

    Raises:
        SpecError: the file has a shape that cannot be edited.
        ConflictError: an architecture or a model type is registered by hand to another module.
    """
    listed = list(entries)
    ours = {entry.module.rpartition(".")[0] for entry in listed}
    architectures = {name: (entry.module, entry.class_name) for entry in listed for name in entry.architectures}
    configs = {entry.config[0]: entry.config[1:] for entry in listed if entry.config is not None}
    data = _edited(find(data, REGISTRY, ARCHITECTURES, pairs=True), architectures, ours, is_gone)
    if TYPES.encode() in data:  # a registry without it finds models by their architectures alone
        types = {entry.model_type: (entry.module, entry.class_name) for entry in listed if entry.model_type is not None}
        data = _edited(find(data, REGISTRY, TYPES, pairs=False), types, ours, is_gone)
    if TEXTS.encode() in data:
        texts = {key: (entry.module, entry.class_name) for entry in listed for key in entry.texts}
        data = _edited(find(data, REGISTRY, TEXTS, pairs=False), texts, ours, is_gone)
    if not configs and CONFIGS.encode() not in data:
        return data
    return _edited(find(data, REGISTRY, CONFIGS, pairs=False), configs, ours, is_gone)


def _edited(
    literal: Literal, wanted: dict[str, tuple[str, str]], ours: set[str], is_gone: Callable[[str], bool]
) -> bytes:
    """ours: packages of generated models."""

    def is_free(entry: Entry) -> bool:
        return _module(entry).rpartition(".")[0] in ours or _stale(entry, is_gone)

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


def _stale(entry: Entry, is_gone: Callable[[str], bool]) -> bool:
    """Whether the entry names a module of one model's package that is gone."""
    module = _module(entry)
    *package, file = module.removeprefix(_PACKAGE).split(".")
    if not module.startswith(_PACKAGE) or not all(map(str.isidentifier, package)) or file not in ("model", "config"):
        return False
    return is_gone(f"{MODELS}/{'/'.join((*package, file))}.py")
