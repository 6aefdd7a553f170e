"""Many file names in little memory: a scan archive holds a million of them, nearly all alike. Reads no file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

_SEPARATOR = "\0"  # in no path of any system
_LEVEL = 1  # higher levels gain a tenth and take three times as long


@dataclass(frozen=True, slots=True, eq=False)
class FileNames(Sequence[str]):
    """A tuple of names, kept as what they share and what they do not, packed: 3 to 25 bytes a name.

    Attributes:
        prefix: What all names start with.
        packed: The rest of each, joined and compressed.
        num_names: How many.
    """

    prefix: str
    packed: bytes
    num_names: int

    @classmethod
    def of(cls, names: Iterable[str]) -> FileNames:
        """Pack names; their order stays."""
        listed = tuple(names)
        prefix = os.path.commonprefix(listed)  # noqa: RUF071 - of signs, not of folders
        rest = _SEPARATOR.join([name[len(prefix) :] for name in listed])
        return cls(prefix, zlib.compress(rest.encode("utf-8", "surrogateescape"), _LEVEL), len(listed))

    def __len__(self) -> int:
        """How many names there are."""
        return self.num_names

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        """One name, or some as a tuple."""
        return _unpacked(self.prefix, self.packed, self.num_names)[place]

    def __eq__(self, other: object) -> bool:
        """Equal to any sequence of the same names."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        """As of the tuple of names."""
        return hash(tuple(self))


@lru_cache(maxsize=8)
def _unpacked(prefix: str, packed: bytes, count: int) -> tuple[str, ...]:
    if not count:
        return ()
    rest = zlib.decompress(packed).decode("utf-8", "surrogateescape")
    return tuple([prefix + name for name in rest.split(_SEPARATOR)])
