"""The models of a candidate, with the weights of references."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch

from nemo_automodel.components.models.common.checkpoint.survey import is_ignored
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.ours import BACKENDS
from nemo_automodel.parity.subject import Subject


class Lacking(Exception):
    """Tensors that a checkpoint lacks, and those that nothing takes."""

    def __init__(self, missing: tuple[str, ...], unexpected: tuple[str, ...]) -> None:
        super().__init__(missing, unexpected)
        self.missing, self.unexpected = missing, unexpected


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
        """Raises Lacking for missing or unexpected tensors."""
        kind = getattr(self.modules["model"], self.subject.architecture)
        config = self.subject.config(oracle.values)
        options = BACKENDS[backend] | ({} if dtype == torch.float32 else {"experts": "loop"})
        attention = self.subject.attention
        model = kind._from_config(config, dtype=dtype, attn_implementation=attention, backend=options)
        found = model.load_state_dict(kept(model, oracle.reference.disk), strict=False)
        missing = sorted(set(found.missing_keys) - set(model.all_tied_weights_keys))
        if missing or found.unexpected_keys:
            raise Lacking(tuple(missing), tuple(sorted(found.unexpected_keys)))
        model.tie_weights()
        return model.eval()


def kept(model: Any, disk: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on disk that a model's class does not leave out."""
    return {name: tensor for name, tensor in disk.items() if not is_ignored(model, name)}
