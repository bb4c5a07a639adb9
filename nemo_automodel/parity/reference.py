"""A reference model of one config, randomised, with the checkpoint that it writes."""

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from huggingface_hub import save_torch_state_dict
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from nemo_automodel.components.models.common.releases import CACHE, FINDS_LONG_TABLES, PINS_ROUTERS
from nemo_automodel.parity.batches import Batch, Texts
from nemo_automodel.parity.derived import leave_out_derived
from nemo_automodel.parity.grouped_norms import group_norms
from nemo_automodel.parity.images import Images
from nemo_automodel.parity.newer import asked_of_older
from nemo_automodel.parity.ours import BACKENDS
from nemo_automodel.parity.padding import ask_alone
from nemo_automodel.parity.randomise import randomise
from nemo_automodel.parity.repeated_keys import repeat_keys
from nemo_automodel.parity.rounded_heads import round_heads
from nemo_automodel.parity.state_dict import read
from nemo_automodel.parity.subject import Subject
from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.parity.wide_norms import widen_norms

T = TypeVar("T")
KEPT = 24  # answers
ANSWERS: dict[Hashable, tuple[Any, Any]] = {}
FAINT = 0.03  # of the weights of a tower
LOUD = 4  # of the weights of norms


class Reference:
    """The reference class in fp32, in eval mode, with the attention that its subject names.

    model: the module. folder: a checkpoint that it wrote. disk: that checkpoint's tensors under the names on disk.
    bound: by which logits may differ.
    """

    bound = FP32

    def __init__(self, subject: Subject, values: Mapping[str, Any], seed: int = 0) -> None:
        self.subject = subject
        self.config = subject.config(values)
        with torch.random.fork_rng(devices=[]):  # where vectors start may be drawn too
            torch.manual_seed(seed)
            self.model = build(subject.reference_class, copy.deepcopy(self.config), subject.attention)
        leave_out_derived(self.model, self.outline)
        self._prepare(self.model)
        randomise(self.model, seed)

    @classmethod
    def faint(cls, subject: Subject, values: Mapping[str, Any]) -> "Reference":
        """One whose tower gives features so small that what a norm adds to their variance shows."""
        reference = cls(subject, values)
        for weight in reference.tower.parameters():
            weight.data.mul_(FAINT)
        return reference

    @classmethod
    def loud(cls, subject: Subject, values: Mapping[str, Any]) -> "Reference":
        """One whose norms give values so large that what bounds them shows: an activation that ends at 6."""
        reference = cls(subject, values)
        for name, vector in reference.model.named_parameters():
            if vector.dim() == 1 and name.endswith("weight"):
                vector.data.mul_(LOUD)
        reference.bound = FP32 * LOUD
        return reference

    @classmethod
    def from_checkpoint(cls, subject: Subject, folder: Path) -> "Reference":
        """The reference with the weights of a folder, which is then `folder`."""
        reference = cls.__new__(cls)
        reference.subject = subject
        reference.config = subject.config_class.from_pretrained(folder)
        reference.folder = folder
        reference.model = reference.load(folder).eval()
        return reference

    @cached_property
    def folder(self) -> Path:
        self._directory = TemporaryDirectory()  # removed with this object
        self.save(Path(self._directory.name))
        return Path(self._directory.name)

    def save(self, folder: Path, **options: Any) -> None:
        """Writes the checkpoint; the config names our architecture, as a published one would.

        Where the reference writes names that are not the published ones, our adapter does it: memory is alike, and that
        the reference reads what we write is part of the proof.
        """
        if self.subject.disk == "read":
            stored = disk_names(self.model, self.model.state_dict())
            save_torch_state_dict({name: tensor.clone() for name, tensor in stored.items()}, folder, **options)
        else:
            self.model.save_pretrained(folder, **options)
        self.config.save_pretrained(folder)

    @cached_property
    def drawing(self) -> Texts | Images:
        """What batches are drawn from."""
        if not self.subject.takes_images:
            return Texts(self.config.vocab_size)
        return Images.of(self.model, self.outline.model)

    @property
    def tower(self) -> nn.Module:
        """What makes features of images."""
        return self.model.get_submodule(self.outline.state_dict_adapter.tower_path)

    @cached_property
    def outline(self) -> Any:
        """The generated model of the same config, without numbers."""
        with torch.device("meta"):
            return self.subject.model_class._from_config(copy.deepcopy(self.config), backend=BACKENDS["split"])

    @cached_property
    def disk(self) -> dict[str, torch.Tensor]:
        return read(self.folder)

    def once(self, what: str, batch: Batch, measure: Callable[[], T]) -> T:
        """What `measure` makes of these weights and a batch. Both layouts of ours are held against the same answer, one
        right after the other: the newest few are kept."""
        key = id(self), what, batch.content
        if key not in ANSWERS:
            if len(ANSWERS) == KEPT:
                del ANSWERS[next(iter(ANSWERS))]
            ANSWERS[key] = self, measure()  # with this object, lest another gets its id
        return ANSWERS[key][1]

    @cached_property
    def in_fp64(self) -> nn.Module:
        return in_fp64(self.model)

    @cached_property
    def in_bf16(self) -> nn.Module:
        """Loaded, not converted: `.to(bfloat16)` would round tables of angles and what must stay fp32.

        What transformers' classes hold in fp32 only since 5.24, ours and this one do at every release (ADR 0016).
        """
        model = self.load(self.folder, dtype=torch.bfloat16).eval()
        if not PINS_ROUTERS:
            self._unround(model)
        return model

    @torch.no_grad()
    def _unround(self, half: nn.Module) -> None:
        """Gives a model in half precision the fp32 values of the tensors that our class pins."""
        with torch.device("meta"):
            ours = self.subject.model_class._from_config(copy.deepcopy(self.config), dtype=torch.bfloat16)
        pinned = {name for name, tensor in ours.state_dict().items() if tensor.dtype == torch.float32}
        exact = self.model.state_dict()
        for name, tensor in half.state_dict(keep_vars=True).items():
            if name in pinned:
                tensor.data = exact[name].clone()

    def load(self, folder: Path, *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
        """What the reference class makes of a folder."""
        kind, attention = self.subject.reference_class, self.subject.attention
        choice = choices(attention) if issubclass(kind, PreTrainedModel) else {}
        if not own_config(kind, self.config):
            # config.json holds what differs from the config class's defaults, which the reference does not know
            choice |= {"config": config_for(kind, self.config)}
        loaded = kind.from_pretrained(folder, dtype=dtype, **choice, **options)
        model, info = loaded if isinstance(loaded, tuple) else (loaded, {"missing_keys": set()})
        derived = leave_out_derived(model, self.outline)
        info["missing_keys"] = {name for name in info["missing_keys"] if name not in derived}
        restore(model, read(folder))
        _let_run_again(model)
        self._prepare(model)
        return loaded

    def _prepare(self, model: nn.Module) -> None:
        """Gives a model of the reference class what it owes to the comparison."""
        group_norms(model, self.outline)
        round_heads(model)
        widen_norms(model, self.outline)
        model.register_forward_pre_hook(_forget_deltas, with_kwargs=True)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d) or any(isinstance(m, nn.Unfold) for m in module.children()):
                module.register_forward_pre_hook(_in_dtype_of_weights)
        if getattr(model, "_is_stateful", False):
            model.register_forward_hook(_forget)
        if self.subject.attention == "sdpa":
            repeat_keys(model)
        if self.subject.positions == "alone":
            ask_alone(model)
        self.translated(model)

    def translated(self, model: nn.Module) -> nn.Module:
        """A model of the reference class, whose tensors `disk_names` calls as published checkpoints do."""
        if self.subject.disk == "read":
            model.state_dict_adapter = self.outline.state_dict_adapter
        return model


def _forget(model: nn.Module, *_: Any) -> None:
    """After a forward: drops the states with a graph that modules keep (RecurrentGemma's), which cannot be copied."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                setattr(module, name, None)


def _in_dtype_of_weights(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Before patches are embedded: pixels as a caller would give them, where a tower does not turn them itself."""
    return tuple(one.to(next(module.parameters()).dtype) for one in args)


def _forget_deltas(model: nn.Module, args: object, kwargs: dict[str, Any]) -> None:
    """Before a forward: drops how far positions were off the count of tokens in another text, where none is cached."""
    cache = kwargs.get(CACHE)
    for module in model.modules() if cache is None or not cache.get_seq_length() else ():
        if getattr(module, "rope_deltas", None) is not None:
            module.rope_deltas = None  # type: ignore[assignment]


@torch.no_grad()
def restore(model: nn.Module, disk: Mapping[str, torch.Tensor]) -> None:
    """Puts back what loading has set to zero: some classes clear the embedding's padding row a second time."""
    for name, tensor in model.state_dict().items():
        if name in disk and disk[name].shape == tensor.shape:
            cleared = (tensor == 0) & (disk[name] != 0)
            tensor[cleared] = disk[name][cleared].to(tensor.dtype)


@contextmanager
def truth_in_fp64() -> Iterator[None]:
    """Within, what is in fp64 stays so, and so does a number that is made a tensor.

    References ask for fp32 in softmaxes, norms, decays and states, whatever their weights are in: a rounding of the
    kind that fp64 is there to measure (ADR 0019).
    """
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _NeverNarrower():
            yield
    finally:
        torch.set_default_dtype(dtype)


class _NeverNarrower(TorchFunctionMode):
    """Where a function is asked to make fp32 of an fp64 tensor, fp64 is what it makes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64:
            if func is torch.Tensor.float:
                return args[0]
            args = [_wide(one) for one in args]
            kwargs = {name: _wide(one) for name, one in kwargs.items()}
        return func(*args, **kwargs)


def _wide(argument: Any) -> Any:
    return torch.float64 if argument is torch.float32 else argument


def in_fp64(model: nn.Module) -> nn.Module:
    """A copy whose weights are in fp64; tables of positions, which are no weights, stay those of fp32."""
    copied = copy.deepcopy(model)
    for tensor in stored_tensors(copied).values():
        tensor.data = tensor.data.double()
    return copied


def build(reference_class: type[nn.Module], config: Any, attention: str = "eager") -> nn.Module:
    """A reference module in eval mode; `attention` is transformers' name of its implementation."""
    config = config_for(reference_class, config)
    if not issubclass(reference_class, PreTrainedModel):
        return reference_class(config).eval()
    with asked_of_older(reference_class):
        model = reference_class._from_config(config, **choices(attention), dtype=torch.float32).eval()
    _let_run_again(model)
    return model


def _let_run_again(model: nn.Module) -> None:
    """Makes longrope by kind of layer forget its long tables after each forward, where it fails if it has them."""
    for module in () if FINDS_LONG_TABLES else model.modules():
        if isinstance(getattr(module, "rope_type", None), dict):
            module.register_forward_hook(_forget_long_tables)


def _forget_long_tables(module: nn.Module, args: object, output: object) -> None:
    for name in [name for name in vars(module) if name.endswith("_long_inv_freq")]:
        delattr(module, name)


def own_config(reference_class: type[nn.Module], config: Any) -> bool:
    """Whether the config is of the class that the reference reads, or of one that transformers lends it to."""
    lent = AutoModelForCausalLM._model_mapping.get(type(config), None) is reference_class
    return lent or isinstance(config, getattr(reference_class, "config_class", None) or ())


def config_for(reference_class: type[nn.Module], config: Any) -> Any:
    """The config as the reference reads it: the same fields in its own class, where it has another."""
    if own_config(reference_class, config) or not issubclass(reference_class, PreTrainedModel):
        return config
    fields = {name: value for name, value in config.to_dict().items() if name != "model_type"}
    return reference_class.config_class(**fields)


def choices(attention: str) -> dict[str, Any]:
    """transformers' implementations: its experts one after the other, as its grouped products ask for even widths."""
    return {"attn_implementation": attention, "experts_implementation": "eager"}


def stored_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, tied ones once, and the buffers that are saved (correction biases of routers)."""
    saved = model.state_dict()
    return dict(model.named_parameters()) | {name: buffer for name, buffer in model.named_buffers() if name in saved}


def disk_names(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that lie like the model's parameters (themselves, or gradients), under their names on disk."""
    if hasattr(model, "state_dict_adapter"):
        return dict(model.state_dict_adapter.to_hf(dict(tensors)))
    if isinstance(model, PreTrainedModel):
        return dict(revert_weight_conversion(model, dict(tensors)))
    return dict(tensors)
