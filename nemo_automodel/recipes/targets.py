"""What a `_target_` may name: callables from a list, by the key of its section. Nothing else is ever imported.

Packages would be too much: under `transformers` and `nemo_automodel` lie functions that start processes or load code.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from nemo_automodel.recipes.mistakes import RecipeError, close_match

TARGET = "_target_"
PRETRAINED, FRESH = "from_pretrained", "from_config"

AUTO_MODELS = (
    "nemo_automodel.NeMoAutoModelForCausalLM",
    "nemo_automodel.NeMoAutoModelForImageTextToText",
    "transformers.AutoModelForCausalLM",
    "transformers.AutoModelForImageTextToText",
)
TOKENIZERS = ("Tokenizer", "TokenizerFast", "Processor")  # how their names end in transformers
OWN = "nemo_automodel.recipes.data"
OWN_IMAGES = "nemo_automodel.recipes.images"
OWN_CHAT = "nemo_automodel.recipes.chat"
CHAT = f"{OWN_CHAT}.ChatDataset"
DATASETS = (
    CHAT,
    *(f"{OWN}.{name}" for name in ("MockDataset", "TextDataset")),
    *(f"{OWN_IMAGES}.{name}" for name in ("MockImageTextDataset", "ImageTextDataset")),
)
BACKENDS = tuple(
    f"nemo_automodel.components.models.common.{name}"
    for name in ("BackendConfig", "backend.BackendConfig", "utils.BackendConfig")
)


@dataclass(frozen=True)
class Allowed:
    """What only the person at the command line may allow.

    dataset_modules: modules with data set classes of their own. remote_code: Python files that come with a checkpoint.
    """

    dataset_modules: tuple[str, ...] = ()
    remote_code: bool = False


NOTHING_ELSE = Allowed()


@dataclass(frozen=True)
class Role:
    """What may stand under a key. `names` lists it; `base` is the class that makes one of several names good."""

    what: str
    example: str
    names: Callable[[], Collection[str]]
    base: Callable[[], tuple[type, ...]] | None = None


def _models() -> list[str]:
    return [f"{name}.{way}" for name in AUTO_MODELS for way in (PRETRAINED, FRESH)]


def _tokenizers(endings: tuple[str, ...] = TOKENIZERS) -> list[str]:
    import transformers

    found = [name for name in dir(transformers) if name.endswith(endings) and name[0].isupper()]
    return [f"transformers.{name}.{PRETRAINED}" for name in found]


def _processor_bases() -> tuple[type, ...]:
    from transformers import AutoProcessor, ProcessorMixin

    return (ProcessorMixin, AutoProcessor)


def _tokenizer_bases() -> tuple[type, ...]:
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    return (PreTrainedTokenizerBase, AutoTokenizer, *_processor_bases())


def _public(package: str, base: str) -> list[str]:
    """The subclasses of `base` that a package shows."""
    module = import_module(package)
    root = getattr(module, base)
    found = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    return [f"{package}.{name}" for name, value in found.items() if issubclass(value, root) and value is not root]


def _adapters() -> list[str]:
    try:
        return _public("peft", "PeftConfig")
    except ModuleNotFoundError as error:
        raise RecipeError("peft: the package is not installed; run: pip install peft") from error


DATASET = Role(
    "a data set of the recipes",
    f"{OWN}.TextDataset",
    lambda: DATASETS,
)
ADAPTER = Role("a config of peft", "peft.LoraConfig", _adapters)
ROLES = {
    "model": Role("an auto class for models", _models()[0], _models),
    "config": Role("AutoConfig", "transformers.AutoConfig.from_pretrained", lambda: [ROLES["config"].example]),
    "backend": Role("BackendConfig", BACKENDS[0], lambda: BACKENDS),
    "tokenizer": Role(
        "a tokenizer or processor of transformers",
        "transformers.AutoTokenizer.from_pretrained",
        _tokenizers,
        _tokenizer_bases,
    ),
    "processor": Role(
        "a processor of transformers",
        "transformers.AutoProcessor.from_pretrained",
        lambda: _tokenizers(("Processor",)),
        _processor_bases,
    ),
    "dataset": DATASET,
    "eval_dataset": DATASET,
    "optimizer": Role("an optimizer of torch", "torch.optim.AdamW", lambda: _public("torch.optim", "Optimizer")),
    "peft": ADAPTER,
    "peft_config": ADAPTER,
}


def resolve_target(section: dict[str, Any], where: str, allowed: Allowed = NOTHING_ELSE) -> Callable[..., Any]:
    """The callable that `section[_target_]` names; `where` is the section's dotted place, whose last key decides.

    Raises:
        RecipeError: the section names none, or one that is not in the list of its key.
    """
    role = ROLES.get(where.rpartition(".")[2])
    name = section.get(TARGET)
    if role is None:
        raise RecipeError(f"{where}.{TARGET}: is not allowed here; write plain values")
    if not isinstance(name, str):
        raise RecipeError(f"{where}: no {TARGET}: name {role.what}, such as {role.example}")
    if role is DATASET and name.rpartition(".")[0] in allowed.dataset_modules:
        return _own_dataset(name, where)
    names = set(role.names())
    if name not in names or not _is_good(role, found := _follow(name)):
        cure = f"name {role.what}, such as {role.example}{close_match(name, names)}"
        if role is DATASET:
            cure += "; a class of your own is allowed by --dataset-module MODULE on the command line"
        raise RecipeError(f"{where}.{TARGET}: {name!r} is not allowed: {cure}")
    return found


def is_of_images(section: dict[str, Any]) -> bool:
    """Whether a section `model` builds a model that takes images beside text."""
    return "ImageTextToText" in str(section.get(TARGET))


def is_of_chat(recipe: dict[str, Any]) -> bool:
    """Whether a recipe trains on chat data."""
    return recipe.get("dataset", {}).get(TARGET) == CHAT


def _is_good(role: Role, found: Any) -> bool:
    return role.base is None or issubclass(found.__self__, role.base())


def _follow(name: str) -> Any:
    """The object of a name in a list: a package, then attributes."""
    parts = name.split(".")
    depth = next(i for i, part in enumerate([*parts, "A"]) if part[0].isupper())
    found: Any = import_module(".".join(parts[:depth]))
    for part in parts[depth:]:
        found = getattr(found, part)
    return found


def _own_dataset(name: str, where: str) -> type:
    """A class of a module that the command line names; not what that module itself imported."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise RecipeError(f"--dataset-module {module}: {error}; is its folder in PYTHONPATH?") from error
    if not isinstance(found, type) or not f"{found.__module__}.".startswith(f"{module}."):
        raise RecipeError(f"{where}.{TARGET}: {name!r} is not allowed: {module} defines no such class")
    return found
