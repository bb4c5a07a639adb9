"""Loads checkpoints: routed experts from the files right into their final storage, all else by transformers' loader.

transformers reads every expert, stacks them and joins gate and up: two copies more than needed. Here each expert is
read into its place in the parameter. Other tensors go transformers' way with our rules (`loading.py`), quantised ones
decoded on the way (`codecs.py`). It is the experts' way too where more is asked than files read into one device:
tensor-parallel and other sharded models, pipeline stages, maps of several devices or the disk, quantizers, key mappings
of the caller, DeepSpeed's ZeRO-3, checkpoints that are no safetensors.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch.distributed.tensor import DTensor
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils.logging import tqdm

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.codecs import Decoded, decoded
from nemo_automodel.components.models.common.checkpoint.expert_rules import StackExperts, StoredExperts
from nemo_automodel.components.models.common.checkpoint.files import (
    StoredTensor,
    pickled_tensors,
    stored_tensors,
)
from nemo_automodel.components.models.common.checkpoint.loading import conversions, refuse_conversion_errors
from nemo_automodel.components.models.common.checkpoint.outer import text_half
from nemo_automodel.components.models.common.checkpoint.survey import Survey

THREADS = min(4, os.cpu_count() or 1)  # reading is bound by memory, as in transformers' loader
BATCH = 16  # reads at a turn of a thread; changing threads costs as much as a small read


def load_checkpoint(load, model, adapter, state_dict, files, load_config, **kwargs):
    """What `PreTrainedModel._load_pretrained_model` (`load`) returns, for a model whose rules `adapter` has, or None.

    Raises ValueError where a file is broken or tensors cannot be what the model is made of (see `Survey`).
    """
    adapter = adapter or StateDictAdapter(model.config)
    foreign = load_config.weight_mapping or []
    load_config = _with_rules(load_config, adapter, foreign)
    if load_config.hf_quantizer is not None or is_deepspeed_zero3_enabled() or not (files or state_dict):
        return _checked(load(model, state_dict, files, load_config, **kwargs))
    is_stored = state_dict is None and all(str(file).endswith(".safetensors") for file in files)
    with ExitStack() as stack:
        found = stack.enter_context(stored_tensors(files)) if is_stored else state_dict or pickled_tensors(files)
        half = text_half(found, model, adapter)
        tensors = decoded(half.tensors(found))
        if adapter.turnable and (reading := adapter.reading(tensors, shapes_of(model))) is not adapter:
            adapter, load_config = reading, _with_rules(load_config, reading, foreign)
        _refuse_offloading(found, tensors, load_config)
        sources = {}
        if not _renames_any(foreign, tensors):
            survey = Survey(model, adapter, half, tensors)
            survey.report(load_config.pretrained_model_name_or_path, load_config.ignore_mismatched_sizes)
            sources = survey.sources
            tensors = {name: tensor for name, tensor in tensors.items() if name not in survey.unused}
        experts = _experts(sources, tensors) if is_stored and _fills_in_place(model, load_config) else {}
        taken = {name for source in experts.values() for part in source.names for name in part}
        if is_stored and not experts and tensors.keys() == found.keys():
            return _checked(load(model, None, files, load_config, **kwargs))
        rest = {name: _readable(tensor, load_config) for name, tensor in tensors.items() if name not in taken}
        info, offloaded = _checked(load(model, rest, files, load_config, **kwargs))
        fill_experts(model, experts, tensors, load_config, info)
        return info, offloaded


def shapes_of(model):
    """{name: shape} of the model's tensors."""
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _with_rules(load_config, adapter, foreign):
    return replace(load_config, weight_mapping=conversions(adapter.active) + foreign)


def _checked(loaded):
    refuse_conversion_errors(loaded[0])
    return loaded


def _readable(tensor, load_config):
    return tensor.mapped() if isinstance(tensor, StoredTensor) and not load_config.disable_mmap else tensor


def _refuse_offloading(found, tensors, load_config):
    """transformers would have an offloaded tensor read from the file later, as it is there."""
    if tensors.keys() != found.keys() and "disk" in (load_config.device_map or {}).values():
        raise ValueError(
            "a quantised checkpoint, or the text half of one, cannot be offloaded to the disk:"
            " load it once and save it, plain then"
        )


def _experts(sources, tensors):
    """{parameter: Source} of the routed experts that can be read one by one."""
    stacked = {
        name: source for name, source in sources.items() if isinstance(source.rule, (StackExperts, StoredExperts))
    }
    return {name: source for name, source in stacked.items() if _reads_by_expert(source, tensors)}


def _fills_in_place(model, load_config):
    """Whether all that is asked is to read files into the memory of one device."""
    devices = set(map(str, (load_config.device_map or {"": "cpu"}).values()))
    return (
        len(devices) == 1
        and not devices & {"disk", "mps"}
        and load_config.device_mesh is None
        and getattr(model, "_pp_stage", None) is None
        and not any(isinstance(parameter, DTensor) for parameter in model.parameters())
    )


def _reads_by_expert(source, tensors):
    """Whether each expert can be read alone: not where all share the scales of one quantised matrix."""
    stored = [tensors[name] for part in source.names for name in part]
    return source.rule.counted or all(tensor.counts_experts for tensor in stored if isinstance(tensor, Decoded))


def _renames_any(mapping, names):
    """Whether key mappings that are not ours match any of these tensors on disk."""
    return any(entry.compiled_sources.search(name) for entry in mapping for name in names)


def fill_experts(model, sources, tensors, load_config, info):
    """Gives each parameter its storage and reads its experts into it, in the order of the disk.

    info: transformers' LoadStateDictInfo, as it stands after all other tensors were loaded.
    """
    reads = []
    for name, source in sources.items():
        parts = [[tensors[one] for one in part] for part in source.names]
        parameter = model.get_parameter(name)
        stored = source.shape(tensors) or parts[0][0].shape
        info.missing_keys.discard(name)
        if stored != parameter.shape:
            info.mismatched_keys.add((name, stored, parameter.shape))
            continue
        storage = _storage(name, parameter, load_config)
        _set_parameter(model, name, storage)
        reads += source.rule.reads(storage, parts)
    reads.sort(key=lambda read: read.place)
    batches = [reads[i : i + BATCH] for i in range(0, len(reads), BATCH)]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in tqdm(pool.map(_run, batches), total=len(batches), desc="Loading experts"):
            pass


def _run(reads):
    for read in reads:
        read.run()


def _storage(name, parameter, load_config):
    """Uninitialised memory of the dtype and on the device that transformers' loader would choose."""
    plan = (load_config.dtype_plan or {}).items()
    planned = [dtype for pattern, dtype in plan if re.search(pattern.replace("*", ".*"), name)]
    (device,) = {*(load_config.device_map or {"": "cpu"}).values()}
    return torch.empty(parameter.shape, dtype=(planned or [parameter.dtype])[0], device=device)


def _set_parameter(model, name, storage):
    path, _, attribute = name.rpartition(".")
    parameter = torch.nn.Parameter(storage, requires_grad=storage.is_floating_point())
    parameter._is_hf_initialized = True  # else transformers starts it afresh
    setattr(model.get_submodule(path), attribute, parameter)
