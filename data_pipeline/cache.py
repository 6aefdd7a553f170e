"""Results of the graph on disk: found again by content and spec, written whole, rebuilt when damaged."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from domain.specs import PreprocessSpec, digest_of
from domain.whole_files import write_whole

logger = logging.getLogger(__name__)

CACHE_FORMAT = 1  # 1: safetensors, one file per scan and spec
LIBRARIES = ("numpy", "scipy", "torch", "monai")  # whose change may change a result

Tensors = dict[str, torch.Tensor]


def versions() -> dict[str, str]:
    """Versions that are part of every key."""
    return {"format": str(CACHE_FORMAT)} | {name: version(name) for name in LIBRARIES}


@dataclass(frozen=True)
class GraphCache:
    """A folder of graph results of one spec.

    Safe with several processes: an entry appears whole, by renaming, and writers of one key write the same.

    Attributes:
        folder: Of all caches; this one lives in a sub-folder named after spec and versions.
        spec: The graph.
        max_bytes: Entries not used for longest are removed above this size; 0 for no limit.
    """

    folder: Path
    spec: PreprocessSpec
    max_bytes: int = 0
    place: Path = field(init=False)

    def __post_init__(self) -> None:
        digest = digest_of({"spec": self.spec.digest, "versions": versions()})
        place = self.folder / f"{self.spec.name}-{digest}"
        place.mkdir(parents=True, exist_ok=True)
        object.__setattr__(self, "place", place)

    def path_of(self, content_digest: str) -> Path:
        """File of one scan."""
        return self.place / f"{content_digest}.safetensors"

    def load(self, content_digest: str) -> Tensors | None:
        """The entry of a scan; None where there is none or it is damaged (then it is removed)."""
        path = self.path_of(content_digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            tensors: Tensors = load_tensors(content)
        except (SafetensorError, ValueError) as error:
            logger.warning("cache entry %s is damaged and will be made again: %s", path.name, error)
            path.unlink(missing_ok=True)
            return None
        os.utime(path)  # last use, for the size limit
        return tensors

    def save(self, content_digest: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write an entry: temporary name, fsync, rename."""
        content = save_tensors({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        write_whole(self.path_of(content_digest), content)
        if self.max_bytes:
            self._shrink()

    def _shrink(self) -> None:
        """Remove the entries not used for longest until the folder fits."""
        entries = []
        for path in self.place.glob("*.safetensors"):
            try:
                facts = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            entries.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def remember_content(folder: Path, source_digest: str, content_digest: str) -> None:
    """Note which content a source (names, sizes and times of its files) had, so that it need not be read again."""
    notes = folder / "sources"
    notes.mkdir(parents=True, exist_ok=True)
    write_whole(notes / f"{source_digest}.json", json.dumps({"content": content_digest}).encode())


def content_of(folder: Path, source_digest: str) -> str | None:
    """What ``remember_content`` noted; None for an unknown source or a damaged note."""
    try:
        note: dict[str, Any] = json.loads((folder / "sources" / f"{source_digest}.json").read_text(encoding="utf-8"))
        return str(note["content"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        return None
