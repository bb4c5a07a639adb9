"""Tensors in safetensors files, read without a copy in between: straight into the memory where they stay."""

import ctypes
import json
import os
import sys
from contextlib import contextmanager
from math import prod
from mmap import PAGESIZE
from pickle import UnpicklingError

import torch
from safetensors import safe_open
from transformers.modeling_utils import load_state_dict

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "C64": torch.complex64,
    "BOOL": torch.bool,
}
AGAIN = "fetch or write the file again"
LARGEST_READ = 1 << 30  # Linux reads no more than 2 GB at once
SMALL = 1 << 16  # bytes; below, a call costs more than it saves
POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of <asm-generic/mman-common.h>, which Python's mmap does not name
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StoredTensor:
    """A tensor in a file: `shape`, `dtype`, and its bytes from `start`."""

    def __init__(self, file, name, dtype, shape, start):
        self.file, self.name, self.dtype, self.shape, self.start = file, name, dtype, torch.Size(shape), start

    @property
    def place(self):
        """Sorts tensors into the order of the disk."""
        return self.file.path, self.start

    @property
    def nbytes(self):
        return prod(self.shape) * self.dtype.itemsize

    def read_into(self, out):
        """Fills `out` of the same shape; where dtype or device differ or memory has gaps, by way of a copy."""
        if out.dtype == self.dtype and out.device.type == "cpu" and out.is_contiguous():
            self.file.read(self.start, out)
        else:
            out.copy_(self[...])

    def __getitem__(self, index):
        """A new tensor, as with slices of safetensors: `...` for all of it."""
        out = torch.empty(self.shape, dtype=self.dtype)
        self.file.read(self.start, out)
        return out[index]

    def get_shape(self):
        return list(self.shape)

    def rows(self, start, stop):
        """Some of the first dimension, still in the file."""
        skipped = start * prod(self.shape[1:]) * self.dtype.itemsize
        return StoredTensor(self.file, self.name, self.dtype, (stop - start, *self.shape[1:]), self.start + skipped)

    def mapped(self):
        """safetensors' own slice, which reads by mapping the file into memory."""
        return self.file.pointer.get_slice(self.name)


class SafetensorsFile:
    """An open file and its `tensors` by name. Raises ValueError, naming the file, where it is cut short or no such."""

    def __init__(self, path):
        self.path, self.tensors = str(path), {}
        self.descriptor = os.open(path, os.O_RDONLY)
        self._pointer = None
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self):
        size = os.fstat(self.descriptor).st_size
        length = int.from_bytes(os.pread(self.descriptor, 8, 0), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{self.path} ends inside its header: {size} bytes; {AGAIN}")
        header = self._parsed(os.pread(self.descriptor, length, 8))
        self.tensors = {name: self._tensor(name, 8 + length, entry) for name, entry in header.items()}
        end = 8 + length + self._refuse_gaps()
        if size != end:
            word = "is cut short" if size < end else "goes on behind its tensors"
            raise ValueError(f"{self.path} {word}: {size} of {end} bytes; {AGAIN}")

    def _parsed(self, data):
        try:
            header = json.loads(data, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path} is no safetensors file: its header is not JSON ({error}); {AGAIN}") from None
        if not isinstance(header, dict):
            raise ValueError(f"{self.path} is no safetensors file: its header is no mapping; {AGAIN}")
        header.pop("__metadata__", None)
        return header

    def _tensor(self, name, offset, entry):
        fields = entry if isinstance(entry, dict) else {}
        dtype, shape, place = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not (_is_counts(shape) and _is_counts(place) and len(place) == 2 and isinstance(dtype, str)):
            raise ValueError(f"{self.path}: the entry of {name} is none of dtype, shape and data_offsets; {AGAIN}")
        if dtype not in DTYPES:
            raise ValueError(f"{self.path}: {name} is of dtype {dtype}, which is not known here; save it as another")
        start, end = place
        if end - start != prod(shape) * DTYPES[dtype].itemsize:
            raise ValueError(
                f"{self.path}: {name} has {end - start} bytes, which is not {dtype} of shape {shape}; {AGAIN}"
            )
        return StoredTensor(self, name, DTYPES[dtype], shape, offset + start)

    def _refuse_gaps(self):
        """Where the bytes of the last tensor end, counted from that of the first."""
        end = first = min((tensor.start for tensor in self.tensors.values()), default=0)
        for tensor in sorted(self.tensors.values(), key=lambda one: (one.start, one.nbytes)):
            if tensor.start != end:
                raise ValueError(f"{self.path}: {tensor.name} does not begin where the tensor before ends; {AGAIN}")
            end += tensor.nbytes
        return end - first

    @property
    def pointer(self):
        if self._pointer is None:
            self._pointer = safe_open(self.path, framework="pt")
        return self._pointer

    def read(self, start, out):
        """Bytes from `start` into a contiguous CPU tensor; safe in threads. Raises ValueError where the file ends."""
        populate(out)
        view = memoryview(out.flatten().view(torch.uint8).numpy())
        done = 0
        while done < len(view):
            count = os.preadv(self.descriptor, [view[done : done + LARGEST_READ]], start + done)
            if count == 0:
                raise ValueError(f"{self.path} ended while it was read")
            done += count

    def close(self):
        os.close(self.descriptor)
        if self._pointer is not None:
            self._pointer.__exit__(None, None, None)


def _is_counts(values):
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _unique(pairs):
    """A mapping of JSON in which no key stands twice. Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)} stands there twice")
    return found


def populate(tensor):
    """Has Linux (5.14 on) give fresh memory its pages at once, a quarter faster than one by one as they are written."""
    first = -(-tensor.data_ptr() // PAGESIZE) * PAGESIZE
    size = (tensor.data_ptr() + tensor.nbytes) // PAGESIZE * PAGESIZE - first
    if LIBC is not None and size > SMALL:
        LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), POPULATE_WRITE)  # where it cannot, pages come later


def pickled_tensors(paths):
    """{name: tensor} of checkpoints that are no safetensors. Raises ValueError, naming the file, for broken ones."""
    found = {}
    for path in paths:
        try:
            found.update(load_state_dict(path))
        except (RuntimeError, EOFError, OSError, UnpicklingError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}; {AGAIN}, better as safetensors") from error
    if strange := [name for name, tensor in found.items() if not isinstance(tensor, torch.Tensor)]:
        raise ValueError(f"{path}: {strange[0]} is no tensor; save model.state_dict() alone")
    return found


@contextmanager
def stored_tensors(paths):
    """{name: StoredTensor} of a checkpoint's files while they are open.

    Raises ValueError where a file is broken or a name stands in two.
    """
    files = []
    try:
        found = {}
        for path in paths:
            files.append(SafetensorsFile(path))
            if twice := sorted(set(found) & set(files[-1].tensors)):
                places = f"{found[twice[0]].file.path} and {path}"
                raise ValueError(f"these tensors stand in two files ({places}): {', '.join(twice)}")
            found.update(files[-1].tensors)
        yield found
    finally:
        for file in files:
            file.close()
