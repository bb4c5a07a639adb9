"""Gradient accumulation under FSDP2: shards are reduced once, at the last of several backward passes."""

from torch.distributed.fsdp import FSDPModule


class MoEFSDPSyncMixin:
    """Stands before the model class. With pipelines (`pp_enabled`) the schedule sets all this itself."""

    def prepare_for_grad_accumulation(self, pp_enabled=False):
        """Before all but the last backward pass: gradients stay local and whole, parameters gathered."""
        if not pp_enabled:
            self._set_sync(False)

    def prepare_for_final_backward(self, pp_enabled=False):
        """Before the last backward pass: gradients are reduced, parameters sharded again."""
        if not pp_enabled:
            self._set_sync(True)

    def _set_sync(self, last):
        for module in self.modules():
            if isinstance(module, FSDPModule):
                module.set_is_last_backward(last)
                module.set_reshard_after_backward(last, recurse=False)
                module.set_requires_gradient_sync(last, recurse=False)
