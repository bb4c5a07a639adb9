"""Block-quantised checkpoints, read as plain ones: each quantised tensor and its scales become one decoded tensor."""

import re
from copy import deepcopy
from dataclasses import dataclass

import torch

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # and the same below zero: the 4-bit floats of the OCP MX formats


class BlockFloat8:
    """`x` in float8_e4m3fn with `x_scale_inv`, one factor for each block of rows and columns (DeepSeek-V3)."""

    values, scales = "", "_scale_inv"

    @staticmethod
    def shape(values, scales):
        return values

    @staticmethod
    def decode(values, scales):
        """values [..., R, C] float8, scales [..., ceil(R / B), ceil(C / B)] or one for all -> [..., R, C] float32.

        B is a power of two, or all there is. Raises ValueError where the grids do not fit.
        """
        factors = scales.float()
        for dim in (-2, -1) if scales.dim() > 1 else ():
            size, count = values.shape[dim], scales.shape[dim]
            factors = factors.repeat_interleave(block_size(size, count), dim).narrow(dim, 0, size)
        return values.float().mul_(factors)


class MXFloat4:
    """`x_blocks` [E, R, C / 32, 16] with two e2m1 values to a byte, `x_scales` [E, R, C / 32] exponents (e8m0).

    They stand for x [E, C, R], the layout in which the same experts are stored unquantised (gpt_oss).
    """

    values, scales = "_blocks", "_scales"

    @staticmethod
    def shape(values, scales):
        *experts, rows, groups, pairs = values
        return (*experts, groups * pairs * 2, rows)

    @staticmethod
    def decode(values, scales):
        """blocks [E, R, G, 16] and scales [E, R, G], both uint8 -> [E, 32 G, R] bfloat16, which holds them exactly."""
        if values.shape[:-1] != scales.shape:
            raise ValueError(f"blocks {tuple(values.shape)} need scales of their first dimensions, not {scales.shape}")
        numbers = torch.tensor([*E2M1, *(-number for number in E2M1)], dtype=torch.bfloat16, device=values.device)
        bytes_ = torch.arange(256, device=values.device)
        pairs = torch.stack([numbers[bytes_ & 15], numbers[bytes_ >> 4]], dim=-1)  # the lower half comes first
        mantissas = pairs[values.int()].flatten(-2)
        exponents = scales.view(torch.uint8).int().sub_(127).unsqueeze(-1)
        return torch.ldexp(mantissas, exponents).flatten(-2).transpose(-1, -2).contiguous()


@dataclass(frozen=True)
class ScaledNumbers:
    """`x` in float8 or int8 with `x_scale` (compressed-tensors): one factor for all, a row or a block."""

    values, scales = "", "_scale"

    @staticmethod
    def shape(values, scales):
        return values

    @staticmethod
    def decode(values, scales):
        """values [R, C], scales [1], [R, 1] or in blocks -> [R, C] float32."""
        return BlockFloat8.decode(values, scales)


@dataclass(frozen=True)
class PackedIntegers:
    """`x_packed` [R, C bits / 32] int32, the first number lowest, with `x_scale` [R, C / group] (compressed-tensors).

    size: (R, C), which is stored as `x_shape`. Numbers are stored from zero on: half their range is taken off.
    """

    size: tuple
    bits: int
    values, scales = "_packed", "_scale"

    def shape(self, values, scales):
        return self.size

    def decode(self, values, scales):
        """-> [R, C] float32, which holds the products exactly."""
        rows, columns = self.size
        bytes_ = values.contiguous().view(torch.uint8)
        if self.bits == 4:
            bytes_ = torch.stack((bytes_ & 15, bytes_ >> 4), dim=-1).flatten(1)
        numbers = bytes_[:, :columns].to(torch.int16) - (1 << self.bits - 1)
        factors = scales.float().reshape(-1, scales.shape[-1] if scales.dim() else 1)
        factors = factors.repeat_interleave(-(-columns // factors.shape[1]), dim=1)[:, :columns]
        return numbers.float() * factors


METHODS = ("fp8", "mxfp4", "compressed-tensors")  # quantization_config.quant_method of what is decoded here
FORMATS = ("pack-quantized", "float-quantized", "int-quantized", "naive-quantized")  # of compressed-tensors
ACTIVATIONS = re.compile(r"\.(input|output|activation|k|v|q)_(scale|zero_point)$")  # were for products in few bits


def block_size(size, count):
    """The power of two of which `count` blocks cover `size`; `size` where one block is all. Raises ValueError."""
    if count == 1:
        return size
    block = 1 << max(0, -(-size // count) - 1).bit_length()
    if -(-size // block) != count:
        raise ValueError(f"{count} scales do not cover {size} values in blocks of a power of two")
    return block


@dataclass(frozen=True)
class Decoded:
    """A quantised tensor and its scales (tensors or slices of a file) that reads as one plain tensor."""

    codec: object
    values: object
    scales: object

    @property
    def shape(self):
        return torch.Size(self.codec.shape(self.values.shape, self.scales.shape))

    @property
    def dtype(self):
        """What it becomes."""
        return torch.bfloat16

    def get_shape(self):
        return list(self.shape)

    def get_dtype(self):
        return "BF16"

    def __getitem__(self, index):
        return self.codec.decode(self.values[...], self.scales[...])[index]

    @property
    def place(self):
        return self.values.place

    def read_into(self, out):
        out.copy_(self[...])

    @property
    def counts_experts(self):
        """Whether the first dimension of both is that of experts, so that they are decoded one by one."""
        return len(self.shape) > 2 and self.scales.shape[:1] == self.values.shape[:1]

    def rows(self, start, stop):
        """Some of the experts, still to be decoded; for tensors that count them."""
        return Decoded(self.codec, self.values.rows(start, stop), self.scales.rows(start, stop))


def decoded(tensors):
    """{name: tensor} of a checkpoint with each quantised one decoded when it is read, and its scales gone.

    The tensors may be slices of files. Raises ValueError where a float8 matrix has no scales.
    """
    out, found = dict(tensors), set()
    for name, values in tensors.items():
        codec = _codec_of(name, values, tensors)
        if codec is None:
            continue
        stem = name.removesuffix(codec.values)
        scales = stem + codec.scales
        if scales in tensors:
            del out[name], out[scales]
            out.pop(f"{stem}_shape", None)
            out[stem] = Decoded(codec, values, tensors[scales])
            found.add(stem)
        elif codec is BlockFloat8:
            raise ValueError(f"{name} is float8 and the checkpoint has no {scales}: its values mean nothing alone")
    modules = {name.removesuffix(".weight") for name in found}
    owners = modules | {module.rpartition(".")[0] for module in modules}
    return {n: t for n, t in out.items() if not (ACTIVATIONS.search(n) and n.rpartition(".")[0] in owners)}


def as_plain(state_dict):
    """A state dict with its quantised tensors decoded to bfloat16; others are handed on."""
    tensors = decoded(state_dict)
    return {name: t[...].to(torch.bfloat16) if isinstance(t, Decoded) else t for name, t in tensors.items()}


def without_quantization(config):
    """The config itself, or a copy that describes the decoded checkpoint: bfloat16, no `quantization_config`."""
    holders = [holder for holder in (config, config.get_text_config()) if _is_decoded_here(holder)]
    if not holders:
        return config
    plain = deepcopy(config)
    for holder in {id(one): one for one in (plain, plain.get_text_config())}.values():
        if _is_decoded_here(holder):
            del holder.quantization_config
            holder.dtype = holder.dtype or torch.bfloat16
    return plain


def _is_decoded_here(config):
    """Whether it says fp8 or mxfp4, in blocks that their counts tell (see `block_size`)."""
    quantization = getattr(config, "quantization_config", None) or {}
    fields = quantization if isinstance(quantization, dict) else quantization.to_dict()
    blocks = fields.get("weight_block_size") or ()
    if fields.get("quant_method") == "compressed-tensors":
        return _is_compressed_plainly(fields)
    return fields.get("quant_method") in METHODS and all(size & (size - 1) == 0 for size in blocks)


def _is_compressed_plainly(fields):
    """Whether each group holds symmetric numbers of 4 or 8 bits, whose columns are in order."""
    groups = [group for group in (fields.get("config_groups") or {}).values() if isinstance(group, dict)]
    weights = [(group.get("format") or fields.get("format"), group.get("weights") or {}) for group in groups]
    return bool(weights) and all(
        form in FORMATS
        and numbers.get("num_bits") in (4, 8)
        and numbers.get("symmetric", True)
        and numbers.get("actorder") in (None, "static", "weight")
        for form, numbers in weights
    )


def asks_for_plain(quantization):
    """Whether a `quantization_config` of the caller's asks for nothing but a decoded checkpoint."""
    fields = quantization if isinstance(quantization, dict) else vars(quantization)
    return bool(fields.get("dequantize"))


def _codec_of(name, values, tensors):
    if values.dtype in (torch.float8_e4m3fn, torch.int8) and f"{name}{ScaledNumbers.scales}" in tensors:
        return ScaledNumbers
    if values.dtype == torch.float8_e4m3fn:
        return BlockFloat8
    if values.dtype == torch.int32 and name.endswith(PackedIntegers.values):
        return _packed(name, values, tensors)
    return MXFloat4 if values.dtype == torch.uint8 and name.endswith(MXFloat4.values) else None


def _packed(name, values, tensors):
    """The codec of one matrix, or None where it lacks its shape. Raises ValueError where they do not fit."""
    stated = tensors.get(f"{name.removesuffix(PackedIntegers.values)}_shape")
    if stated is None:
        return None
    rows, columns = (int(number) for number in stated[...])
    fits = [bits for bits in (4, 8) if values.shape == (rows, -(-columns * bits // 32))]
    if not fits:
        raise ValueError(
            f"{name} of {tuple(values.shape)} words does not hold {rows} x {columns} numbers of 4 or 8 bits"
        )
    return PackedIntegers((rows, columns), fits[0])
