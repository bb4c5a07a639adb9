"""The models of a candidate, with the weights of references."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.outer import TextHalf
from nemo_automodel.components.models.common.checkpoint.survey import Survey, is_ignored
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.ours import BACKENDS
from nemo_automodel.parity.subject import Subject

DRAWN = ("normal_", "uniform_")  # ends of the names of what draws


class Lacking(Exception):
    """Tensors that a checkpoint lacks, those that nothing takes, and those of another shape; by their names on disk."""

    def __init__(self, missing: tuple[str, ...], unexpected: tuple[str, ...], misshapen: tuple[str, ...]) -> None:
        super().__init__(missing, unexpected, misshapen)
        self.missing, self.unexpected, self.misshapen = missing, unexpected, misshapen


class _Unfilled(TorchFunctionMode):
    """Draws nothing: what a model starts with is a checkpoint's, all of it, and drawing takes longer than the rest."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").endswith(DRAWN):
            drawn = args[0] if args else kwargs["tensor"]
            drawn.data.zero_()  # some draw again what is out of bounds
            return drawn
        return func(*args, **kwargs)


class Trial:
    """A candidate's modules, and its models, each built once. In a `with` of its own while it is asked."""

    def __init__(self, subject: Subject, modules: Mapping[str, ModuleType]) -> None:
        self.subject, self.modules = subject, modules
        self._models: dict[tuple[str, str, torch.dtype], Any] = {}

    def model(self, case: str, oracle: Oracle, backend: str = "split", dtype: torch.dtype = torch.float32) -> Any:
        key = (case, backend, dtype)
        if key not in self._models:
            self._models[key] = self.built(oracle, backend, dtype)
        return self._models[key]

    def built(self, oracle: Oracle, backend: str = "split", dtype: torch.dtype = torch.float32) -> Any:
        """Raises Lacking for tensors that are missing, unexpected or of another shape."""
        kind = getattr(self.modules["model"], self.subject.architecture)
        config = self.subject.config(oracle.values)
        options = BACKENDS[backend] | ({} if dtype == torch.float32 else {"experts": "loop"})
        attention = self.subject.attention
        with _Unfilled():
            model = kind._from_config(config, dtype=dtype, attn_implementation=attention, backend=options)
        disk = kept(model, oracle.reference.disk)
        _refuse_lacking(model, disk)
        model.load_state_dict(disk, strict=False)
        model.tie_weights()
        return model.eval()


def _refuse_lacking(model: Any, disk: Mapping[str, torch.Tensor]) -> None:
    adapter = model.state_dict_adapter or StateDictAdapter(model.config)
    survey = Survey(model, adapter, TextHalf(), disk)
    missing = tuple(name for names in survey.missing for name in names)
    misshapen = tuple(name for name, _, _ in survey.misshapen)
    if missing or survey.unexpected or misshapen:
        raise Lacking(missing, tuple(survey.unexpected), misshapen)


def kept(model: Any, disk: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on disk that a model's class does not leave out."""
    return {name: tensor for name, tensor in disk.items() if not is_ignored(model, name)}
