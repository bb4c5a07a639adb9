"""Tensors in safetensors files, read without a copy in between: straight into the memory where they stay."""

import ctypes
import json
import os
import sys
from contextlib import contextmanager
from math import prod
from mmap import PAGESIZE
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

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
            raise ValueError(f"{self.path} ends inside its header: {size} bytes; fetch or write the file again")
        try:
            header = json.loads(os.pread(self.descriptor, length, 8))
        except ValueError as error:
            raise ValueError(f"{self.path} is no safetensors file: its header is not JSON ({error})") from None
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size < end:
            raise ValueError(f"{self.path} is cut short: {size} of {end} bytes; fetch or write the file again")
        self.tensors = {name: self._tensor(name, 8 + length, **entry) for name, entry in header.items()}

    def _tensor(self, name, offset, dtype, shape, data_offsets):
        if dtype not in DTYPES:
            raise ValueError(f"{self.path}: {name} is of dtype {dtype}, which is not known here")
        start, end = data_offsets
        if end - start != prod(shape) * DTYPES[dtype].itemsize:
            raise ValueError(f"{self.path}: {name} has {end - start} bytes, which is not {dtype} of shape {shape}")
        return StoredTensor(self, name, DTYPES[dtype], shape, offset + start)

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


def populate(tensor):
    """Has Linux (5.14 on) give fresh memory its pages at once, a quarter faster than one by one as they are written."""
    first = -(-tensor.data_ptr() // PAGESIZE) * PAGESIZE
    size = (tensor.data_ptr() + tensor.nbytes) // PAGESIZE * PAGESIZE - first
    if LIBC is not None and size > SMALL:
        LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), POPULATE_WRITE)  # where it cannot, pages come later


@contextmanager
def naming_broken_files(folder):
    """Within, an error of safetensors, which names no file, becomes the ValueError of that file of the folder."""
    try:
        yield
    except SafetensorError:
        with stored_tensors(sorted(Path(folder).glob("*.safetensors"))):
            raise


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
