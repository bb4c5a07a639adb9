"""Reads a config ahead of the weights, and keeps apart what belongs to the one and to the other."""

from contextlib import contextmanager
from types import NoneType

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AutoQuantizationConfig

HUB_KEYS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token", "trust_remote_code")
MODEL_KEYS = ("dtype", "attn_implementation", "experts_implementation", "quantization_config")
AT_LEAST_ONE = ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")


def load_config(config_class, path, kwargs):
    """The config at a path with those of the keywords that are its fields, and the keywords that are left over.

    config_class: anything with `from_pretrained`, AutoConfig too. Raises ValueError where the file is no config.
    """
    kwargs = with_new_names(kwargs)
    hub = {key: kwargs[key] for key in HUB_KEYS if key in kwargs}
    own = {key: kwargs[key] for key in MODEL_KEYS if key in kwargs}
    rest = {key: value for key, value in kwargs.items() if key not in own and key not in hub}
    with naming_config(path):
        config, rest = config_class.from_pretrained(path, return_unused_kwargs=True, **hub, **rest)
    return config, {**hub, **own, **rest}


def with_new_names(kwargs):
    """`torch_dtype` is what `dtype` was called; where both are given, the new name wins, as in transformers."""
    kwargs = dict(kwargs)
    old = kwargs.pop("torch_dtype", None)
    return kwargs if old is None else {"dtype": old, **kwargs}


@contextmanager
def naming_config(path):
    """Within, what transformers finds in reading a config becomes a ValueError that names the file."""
    try:
        yield
    except ValueError as error:
        raise naming(path, error) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, RecursionError, StrictDataclassError) as error:
        text = f"{path}: config.json is no config: {error}; mend the field, or fetch the file again"
        raise ValueError(text) from error


def naming(place, error):
    """The error itself where it names the place, or another that does."""
    return error if str(place) in str(error) else ValueError(f"{place}: {error}")


@contextmanager
def older_rope_keys(config):
    """Within, the config is written with `rope_theta`, and `rope_scaling` where it is scaled, as before transformers 5.

    `rope_scaling` is all of `rope_parameters`: transformers reads it in their place. Where they differ by kind of layer
    the older form has no keys for them.
    """
    parameters, before = getattr(config, "rope_parameters", None) or {}, dict(vars(config))
    theta = parameters.get("rope_theta")
    if theta is not None:
        vars(config)["rope_theta"] = theta
    if theta is not None and parameters.get("rope_type", "default") != "default":
        vars(config)["rope_scaling"] = dict(parameters)
    try:
        yield
    finally:
        for key in ("rope_theta", "rope_scaling"):
            if key in before:
                vars(config)[key] = before[key]
            else:
                vars(config).pop(key, None)


def refuse_faulty_config(config, place):
    """Raises ValueError for sizes of which no model can be made."""
    faults = [
        f"{field} is {value!r}; it must be 1 or more"
        for field in AT_LEAST_ONE
        if (value := getattr(config, field, None)) is not None and _is_number(value) and value < 1
    ]
    layers = getattr(config, "num_hidden_layers", None)
    if _is_number(layers) and layers < 0:
        faults.append(f"num_hidden_layers is {layers}; it must be 0 or more")
    faults += _rope_faults(getattr(config, "rope_parameters", None) or {})
    heads, groups = (getattr(config, field, None) for field in ("num_attention_heads", "num_key_value_heads"))
    if not faults and _is_number(heads) and _is_number(groups) and heads % groups:
        faults.append(f"num_attention_heads {heads} is no multiple of num_key_value_heads {groups}")
    padding, rows = (getattr(config, field, None) for field in ("pad_token_id", "vocab_size"))
    if _is_number(padding) and _is_number(rows) and not -rows <= padding < rows:
        faults.append(
            f"pad_token_id {padding} is beyond the vocabulary of {rows}; give pad_token_id=None or one of its ids"
        )
    if isinstance(config.dtype, str) and not isinstance(getattr(torch, config.dtype, None), torch.dtype):
        faults.append(f"dtype {config.dtype!r} is none of torch's")
    faults += _quantization_faults(config)
    if faults:
        raise ValueError("\n".join([f"{place}: config.json describes no model", *(f"  {fault}" for fault in faults)]))


def _rope_faults(parameters):
    """Numbers and lists of them, in which a table of angles fails only when it is used."""
    faults = []
    for key, value in parameters.items():
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            faults += _rope_faults(value)
        elif key not in ("rope_type", "type") and not all(isinstance(n, (int, float, NoneType)) for n in numbers):
            faults.append(f"rope_parameters.{key} is {value!r}; it must be a number, or a list of them")
    return faults


def _quantization_faults(config):
    stated = getattr(config, "quantization_config", None)
    fields = stated.to_dict() if hasattr(stated, "to_dict") else stated
    if fields is None:
        return []
    if not isinstance(fields, dict):
        return [f"quantization_config is {fields!r}; it must be a mapping, or absent where nothing is quantised"]
    method = fields.get("quant_method")
    if not isinstance(method, str) and not (fields.get("load_in_8bit") or fields.get("load_in_4bit")):
        return [f"quantization_config.quant_method is {method!r}; it must name how the checkpoint is quantised"]
    block = fields.get("weight_block_size")
    if block is not None and not (isinstance(block, list) and block and all(type(n) is int and n > 0 for n in block)):
        return [f"quantization_config.weight_block_size is {block!r}; it must be a list of sizes"]
    groups = fields.get("config_groups") or {}
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        return [f"quantization_config.config_groups is {groups!r}; it must be a mapping of mappings"]
    if not all(isinstance(group.get("weights") or {}, dict) for group in groups.values()):
        return ["quantization_config.config_groups: weights must be a mapping"]
    return _refused_by_transformers(stated, method)


def _refused_by_transformers(stated, method):
    if not isinstance(stated, dict) or method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        return []
    try:
        AutoQuantizationConfig.from_dict(dict(stated))
    except ImportError:  # told when it is needed: some are decoded here without the package
        return []
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return [f"quantization_config is none of {method}: {error}"]
    return []


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool)
