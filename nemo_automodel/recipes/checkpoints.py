"""The sections `model`, `peft`, `tokenizer` and `processor`: what lies in a checkpoint's folder, or on the hub."""

import sys
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoProcessor, AutoTokenizer, PreTrainedConfig, PreTrainedModel, ProcessorMixin
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import cached_file, is_torchvision_available

from nemo_automodel._transformers.lookup import register_config
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.checkpoint.config_loading import HUB_KEYS
from nemo_automodel.recipes.mistakes import SAID_BY_OTHERS, RecipeError, close_match, naming, near_file, refuse, unknown
from nemo_automodel.recipes.parts import build, check
from nemo_automodel.recipes.quantization import prepare, quantization_config
from nemo_automodel.recipes.targets import AUTO_MODELS, NOTHING_ELSE, PRETRAINED, TARGET, Allowed
from nemo_automodel.recipes.values import misfits

WEIGHTS = "pretrained_model_name_or_path"
DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")


@dataclass
class Keywords:
    """Keywords of from_pretrained and from_config that a recipe may say, and what they hold; besides them there are the
    fields of the checkpoint's config."""

    pretrained_model_name_or_path: str
    config: str | dict[str, Any]
    backend: dict[str, Any] | None
    moe: dict[str, Any] | None
    peft_config: Any
    dtype: str = field(metadata={"choices": DTYPES})
    torch_dtype: str = field(metadata={"choices": DTYPES})
    attn_implementation: str | dict[str, Any] | None
    experts_implementation: str | None
    device_map: str | dict[str, Any] | int | None
    quantization_config: dict[str, Any] | None
    variant: str | None
    use_safetensors: bool | None
    ignore_mismatched_sizes: bool
    key_mapping: dict[str, Any] | None
    cache_dir: str | None
    force_download: bool
    local_files_only: bool
    revision: str | None
    subfolder: str
    token: str | bool | None
    trust_remote_code: bool


KEYWORDS = tuple(Keywords.__dataclass_fields__)
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("vocab.json", "vocab.txt", "tekken.json", "tiktoken.model"),
    *("processor_config.json", "preprocessor_config.json"),
)


def check_model(section: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> None:
    """Raises RecipeError for a target, a checkpoint or a field that is not there, before anything large is read."""
    target = check(section, "model", allowed)
    backend = section.get("backend")
    source = WEIGHTS if target.__name__ == PRETRAINED else "config"
    said = {name: value for name, value in section.items() if name in KEYWORDS}
    mistakes = [*misfits("model", said, Keywords), *_implementations(section, allowed)]
    if "dtype" in section and "torch_dtype" in section:
        mistakes.append("model.torch_dtype: model.dtype says it already; keep one of them")
    if isinstance(backend, dict):
        mistakes += _backend_mistakes({name: value for name, value in backend.items() if name != TARGET})
    for name in ("backend", "moe"):
        if name in section and name not in signature(target).parameters:
            mistakes.append(f"model.{name}: is for models of nemo_automodel; take {AUTO_MODELS[0]}.{target.__name__}")
    mistakes += _unknown_fields("model", section, section.get(source), allowed)
    nested = section.get("config")
    if isinstance(nested, dict) and TARGET in nested:
        check(nested, "model.config", allowed)
        mistakes += _unknown_fields("model.config", nested, nested.get(WEIGHTS), allowed)
    refuse(mistakes)


def _backend_mistakes(fields: dict[str, Any]) -> list[str]:
    if mistakes := unknown("model.backend", fields, BackendConfig.__dataclass_fields__, "BackendConfig"):
        return mistakes
    try:
        BackendConfig(**fields).resolved()
    except (ValueError, ImportError, RuntimeError) as error:  # which begin with `backend.<field>`
        return [f"model.{error}"]
    return []


def _unknown_fields(where: str, section: dict[str, Any], path: Any, allowed: Allowed) -> list[str]:
    """transformers hands unknown fields to the constructor, or ignores them."""
    names = [name for name in section if name not in KEYWORDS and name != TARGET]
    if isinstance(path, dict):
        return [f"{where}.{name}: write it in {where}.config" for name in names]
    if mistake := _not_there(f"{where}.{WEIGHTS if WEIGHTS in section else 'config'}", path):
        return [mistake]
    with naming(f"{where}.{WEIGHTS if WEIGHTS in section else 'config'}: {path}", {}):
        config = _config(path, {key: section[key] for key in HUB_KEYS if key in section}, allowed)
    known = {*config.to_dict(), *config.get_text_config().to_dict(), *config.attribute_map}
    return unknown(where, names, {*(name for name in known if not name.startswith("_")), *KEYWORDS}, "the model")


def _config(path: str, hub: dict[str, Any], allowed: Allowed) -> PreTrainedConfig:
    fields, _ = PreTrainedConfig.get_config_dict(path, **hub)
    register_config(fields.get("model_type"))
    return AutoConfig.from_pretrained(path, **hub, trust_remote_code=allowed.remote_code)


def _not_there(where: str, path: Any) -> str | None:
    """What is wrong with a path that is neither a folder nor could be a repository of the hub."""
    if not isinstance(path, str):
        return f"{where}: expected a folder or a repository of the hub, got {path!r:.80}"
    here = Path(path)
    if here.is_dir() or (here.is_file() and here.suffix == ".json"):
        return None
    is_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or ("/" in path and here.parent.is_dir())
    if here.is_file() or is_local:
        return f"{where}: {path} is no folder{near_file(here)}; name one, or a repository of the hub"
    return None


def _implementations(section: dict[str, Any], allowed: Allowed) -> list[str]:
    """An implementation with a slash in its name is code from the hub."""
    mistakes = []
    for name in ("attn_implementation", "experts_implementation"):
        if "/" in str(section.get(name)) and not allowed.remote_code:
            mistakes.append(f"model.{name}: {section[name]!r} is code from the hub: say --trust-remote-code to run it")
    known = ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()]
    chosen = section.get("attn_implementation")
    if isinstance(chosen, str) and "/" not in chosen and chosen not in known:
        cure = close_match(chosen, known)
        mistakes.append(f"model.attn_implementation: {chosen!r} is not one of {', '.join(known)}{cure}")
    return mistakes


def adapter_config(recipe: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> Any:
    """The config of section `peft`, or of `model.peft_config`, or None.

    Raises:
        RecipeError: both are there, or what is there names no config of peft that takes these fields.
    """
    where, section = "peft", recipe.get("peft")
    if "peft_config" in recipe["model"]:
        if section is not None:
            raise RecipeError("model.peft_config: section peft says it already; keep one of them")
        where, section = "model.peft_config", recipe["model"]["peft_config"]
    if section is None:
        return None
    if not isinstance(section, dict):
        raise RecipeError(f"{where}: expected a mapping, such as {{_target_: peft.LoraConfig, r: 8}}, got {section!r}")
    return build(section, where, allowed, task_type="CAUSAL_LM")


def build_model(
    recipe: dict[str, Any], adapter: Any = None, allowed: Allowed = NOTHING_ELSE, checkpoint: str | None = None
) -> PreTrainedModel:
    """The model, within a PeftModel where there is an adapter config.

    A model that will be sharded cannot be filled later: what `checkpoint` holds, weights or an adapter, takes the place
    of what the recipe starts from.
    """
    section = {name: value for name, value in recipe["model"].items() if name != "peft_config"}
    if checkpoint and adapter is None:
        if WEIGHTS not in section:
            raise RecipeError(f"model.{WEIGHTS}: needed to resume a sharded run")
        section[WEIGHTS] = checkpoint
    if quantised := quantization_config(recipe):
        model = prepare(build({**section, "quantization_config": quantised}, "model", allowed))
    else:
        model = build(section, "model", allowed)
    return model if adapter is None else _with_adapter(model, adapter, checkpoint)


def _with_adapter(model: PreTrainedModel, adapter: Any, checkpoint: str | None) -> Any:
    from peft import get_peft_model

    with naming("peft", {}):
        adapted = get_peft_model(model, adapter)
        if checkpoint:
            adapted.load_adapter(checkpoint, adapted.active_adapter, is_trainable=True)
    return adapted


def load_tokenizer(recipe: dict[str, Any], needed: bool, allowed: Allowed = NOTHING_ELSE) -> Any:
    """The named tokenizer, or the checkpoint's own if it has one, or None where none is `needed`.

    Raises:
        RecipeError: it is needed, and there is none or it cannot be loaded.
    """
    if "tokenizer" in recipe:
        return _named_tokenizer(recipe["tokenizer"], allowed)
    path, hub = _source(recipe["model"])
    if path is None or not _has_tokenizer(path, hub):
        if needed:
            raise RecipeError(f"no section 'tokenizer', and model.{WEIGHTS} ({path}) has none")
        return None
    try:
        return AutoTokenizer.from_pretrained(path, **hub, trust_remote_code=allowed.remote_code)
    except SAID_BY_OTHERS as error:
        message = f"the tokenizer of {path} cannot be loaded: {' '.join(str(error).split())}"
        if needed:
            raise RecipeError(f"tokenizer: {message}") from error
        print(f"tokenizer: {message}; it will not be saved", file=sys.stderr)
        return None


def _named_tokenizer(section: dict[str, Any], allowed: Allowed) -> Any:
    """transformers would make an empty one where some classes find no file."""
    path, hub = _source(section)
    where = f"tokenizer.{WEIGHTS}"
    mistake = _not_there(where, path)
    refuse([mistake] if mistake else [] if _has_tokenizer(path, hub) else [f"{where}: {path} has no tokenizer"])
    return build(section, "tokenizer", allowed)


def load_processor(recipe: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> Any:
    """The named processor of images and text, or the checkpoint's own.

    Raises:
        RecipeError: there is none, it cannot be loaded, or what is found is a tokenizer alone.
    """
    section = recipe.get("processor")
    where, (path, hub) = "processor", _source(recipe["model"] if section is None else section)
    if section is not None:
        mistake = _not_there(f"processor.{WEIGHTS}", path)
        refuse([mistake] if mistake else [])
    elif path is None:
        raise RecipeError(f"no section 'processor', and no model.{WEIGHTS} that may have one")
    try:
        own = AutoProcessor.from_pretrained
        given = {**hub, "trust_remote_code": allowed.remote_code}
        found = own(path, **given) if section is None else build(section, where, allowed)
    except (*SAID_BY_OTHERS, AttributeError) as error:  # the last: of a class whose packages are not there
        said = " ".join(str(error).split())
        cure = "" if is_torchvision_available() else "; processors of videos need torchvision: pip install torchvision"
        raise RecipeError(f"{where}: that of {path} cannot be loaded: {said}{cure}") from error
    if not isinstance(found, ProcessorMixin):
        raise RecipeError(f"{where}: {path} has none of images and text, only a {type(found).__name__}; name another")
    return found


def _source(section: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The path of a section, and how to reach it."""
    return section.get(WEIGHTS), {key: section[key] for key in HUB_KEYS if key in section}


def _has_tokenizer(path: str, hub: dict[str, Any]) -> bool:
    options = {key: value for key, value in hub.items() if key != "trust_remote_code"}
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    return any(cached_file(path, name, **options, **quiet) for name in TOKENIZER_FILES)
