"""The processes of a run as meshes: one of all axes, and those that FSDP2 shards over."""

from functools import cached_property

from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from nemo_automodel.recipes.parallel.sizes import NAMES, Sizes

TOGETHER = ("pp", "cp", "tp")  # axes whose processes share a batch


class Meshes:
    """All processes along the axes of `Sizes`, the first the outermost. Every process must ask for the same meshes in
    the same order."""

    def __init__(self, sizes: Sizes, device_type: str) -> None:
        self.sizes = sizes
        self.all = init_device_mesh(device_type, tuple(sizes.named().values()), mesh_dim_names=NAMES)

    def __getitem__(self, axis: str) -> DeviceMesh:
        return self.all[axis]

    @cached_property
    def shards(self) -> DeviceMesh:
        """What parameters are sharded over: every process that reads other tokens."""
        return self._replicated("shards", "dp_shard", "ep", "cp")

    @cached_property
    def expert_shards(self) -> DeviceMesh:
        """The same of experts, which are spread over `ep` before."""
        return self._replicated("expert_shards", "dp_shard", "cp")

    @cached_property
    def stage(self) -> ProcessGroup:
        """The processes that hold the same layers."""
        return self._flat("stage", *(name for name in NAMES if name != "pp")).get_group()

    @cached_property
    def loading(self) -> DeviceMesh:
        """As accelerate's data loaders read a mesh: who has a batch of its own, and who shares it."""
        sizes = (self.sizes.batches, self.sizes.sharing)
        return init_device_mesh(self.all.device_type, sizes, mesh_dim_names=("dp_shard", "tp"))

    def _replicated(self, name: str, *axes: str) -> DeviceMesh:
        flat = self._flat(name, *axes)
        return flat if self.sizes.dp_replicate == 1 else DeviceMesh._concatenate([self.all["dp_replicate"], flat])

    def _flat(self, name: str, *axes: str) -> DeviceMesh:
        return self.all[axes]._flatten(name)
