"""Arrays handed from one process to another on the same machine without sending them through a pipe."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

ALIGNMENT = 64  # bytes; a cache line, and more than any dtype asks for


@dataclass(frozen=True, slots=True)
class ArrayPlace:
    """Where one array lies in a buffer."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class ArraysHandle:
    """What the other process needs to see the arrays: small, sent through a pipe.

    Attributes:
        path: Of the memory, as a file that processes of the same user can open.
        num_bytes: Size of the memory.
        places: The arrays.
    """

    path: str
    num_bytes: int
    places: tuple[ArrayPlace, ...]


class SharedBuffer:
    """The sender's end: memory used again for each message, grown when one needs more. Gone with its process."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("myolung-arrays")
            self._path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        else:
            self._descriptor, self._path = tempfile.mkstemp(suffix=".arrays")
            weakref.finalize(self, os.unlink, self._path)
        weakref.finalize(self, os.close, self._descriptor)
        self._memory: mmap.mmap | None = None

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> ArraysHandle:
        """Copy arrays in; what was put before is overwritten."""
        places, end = [], 0
        for name, values in arrays.items():
            places.append(ArrayPlace(name, values.dtype.str, values.shape, end))
            end += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
        memory = self._of_size(max(end, 1))
        for place, values in zip(places, arrays.values(), strict=True):
            _view(memory, place)[...] = values
        return ArraysHandle(self._path, len(memory), tuple(places))

    def _of_size(self, num_bytes: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < num_bytes:
            os.ftruncate(self._descriptor, num_bytes)
            self._memory = mmap.mmap(self._descriptor, num_bytes)
        return self._memory


class BufferReader:
    """The receiver's end: keeps the memory of one sender mapped."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._path = ""

    def get(self, handle: ArraysHandle) -> Arrays:
        """Views of the arrays: true until the sender puts the next ones."""
        if self._memory is None or self._path != handle.path or len(self._memory) != handle.num_bytes:
            descriptor = os.open(handle.path, os.O_RDWR)
            try:
                self._memory = mmap.mmap(descriptor, handle.num_bytes)
            finally:
                os.close(descriptor)
            self._path = handle.path
        memory = self._memory
        return {place.name: _view(memory, place) for place in handle.places}


def _view(memory: mmap.mmap, place: ArrayPlace) -> NDArray[Any]:
    return np.ndarray(place.shape, dtype=np.dtype(place.dtype), buffer=memory, offset=place.offset)
