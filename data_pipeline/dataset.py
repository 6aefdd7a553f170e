"""Scans as training items: read, sent through the graph, cached. Nothing random happens here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data_pipeline.cache import GraphCache, content_of, remember_content
from data_pipeline.graph import run_graph, split_preprocess
from domain.archive_members import split_source
from domain.batch_keys import (
    AUXILIARY_TARGET,
    CASE_INDEX,
    IMAGE,
    IMAGE_MASK,
    IMAGE_TISSUE,
    PATTERN_TARGET,
    QUANTITATIVE,
)
from domain.records import SeriesRef
from domain.specs import PreprocessSpec, digest_of
from domain.volume import Volume

Source = SeriesRef | str | Path
ReadVolume = Callable[[Source], Volume]

STORED = (IMAGE, IMAGE_MASK, IMAGE_TISSUE, QUANTITATIVE)


@dataclass(frozen=True, eq=False)
class Sample:
    """One scan of the cohort.

    Attributes:
        case_index: Row of the case.
        source: What ``read_volume`` takes.
        pattern_target: Soft label in the order of ``PATTERNS``, NaN where unlabelled. Shape (4,).
        auxiliary: Of ``training_cohort.auxiliary_targets``; empty where the cohort has none.
    """

    case_index: int
    source: Source
    pattern_target: NDArray[np.float64]
    auxiliary: tuple[float, ...] = ()

    @property
    def labels(self) -> dict[str, torch.Tensor]:
        """``PATTERN_TARGET``, ``CASE_INDEX`` and, where the cohort has them, ``AUXILIARY_TARGET``."""
        found = {
            PATTERN_TARGET: torch.tensor(self.pattern_target, dtype=torch.float32),
            CASE_INDEX: torch.tensor(self.case_index, dtype=torch.int64),
        }
        if self.auxiliary:
            found[AUXILIARY_TARGET] = torch.tensor(self.auxiliary, dtype=torch.float32)
        return found


def read_source(source: Source) -> Volume:
    """Read as inference does: the next series where the first fails. Imported when used: the readers are heavy."""
    reading = import_module("data_pipeline.volume_reading")
    volume: Volume = reading.read_study(source)[1] if isinstance(source, SeriesRef) else reading.read_volume(source)
    return volume


class GraphDataset(Dataset[dict[str, torch.Tensor]]):
    """Items ``IMAGE``, ``QUANTITATIVE``, ``PATTERN_TARGET``, ``CASE_INDEX``, made by the same graph as in inference.

    Args:
        samples: The scans, in order.
        spec: The graph.
        cache_dir: Where results are kept; None keeps nothing.
        read: Replaces the reader, for volumes that are in memory.
        max_cache_bytes: Size limit of the cache; 0 for none.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: PreprocessSpec,
        *,
        cache_dir: Path | None = None,
        read: ReadVolume = read_source,
        max_cache_bytes: int = 0,
    ) -> None:
        self.samples = tuple(samples)
        self.read = read
        self.head, self.tail = split_preprocess(spec)
        self.cache_dir = cache_dir
        self.cache = GraphCache(cache_dir, spec, max_cache_bytes) if cache_dir is not None else None

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One item.

        Raises:
            StudyError: The scan cannot be read or used.
        """
        sample = self.samples[index]
        stored = self.tail(self.stored(sample.source))
        shown = (IMAGE, IMAGE_TISSUE, QUANTITATIVE)
        return {**{name: stored[name] for name in shown if name in stored}, **sample.labels}

    def unfinished(self) -> UnfinishedItems:
        """The same items before the voxel-by-voxel steps, which ``tail`` then does for whole batches on their device.

        An int16 volume and its mask are a fifth of four float32 channels: more scans fit into memory, and moving
        and windowing them costs the processor nothing.
        """
        return UnfinishedItems(self)

    def stored(self, source: Source) -> Mapping[str, Any]:
        """What comes before the voxel-by-voxel steps: from the cache, or made and kept."""
        if self.cache is None or self.cache_dir is None:
            return run_graph(self.head, self.read(source))
        source_digest = source_fingerprint(source)
        content = content_of(self.cache_dir, source_digest)
        found = self.cache.load(content) if content is not None else None
        if found is not None:
            return found
        volume = self.read(source)
        result = run_graph(self.head, volume)
        stored = {name: result[name] for name in STORED if name in result}
        self.cache.save(volume.content_digest, stored)
        remember_content(self.cache_dir, source_digest, volume.content_digest)
        return stored


class UnfinishedItems(Dataset[dict[str, torch.Tensor]]):
    """Items of a ``GraphDataset`` with ``IMAGE`` still in HU, (1, I, J, K) int16, and ``IMAGE_MASK`` beside it."""

    def __init__(self, items: GraphDataset) -> None:
        self.items = items

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One item; errors as of ``GraphDataset``."""
        sample = self.items.samples[index]
        stored = self.items.stored(sample.source)
        return {**{name: stored[name] for name in STORED if name in stored}, **sample.labels}


def source_fingerprint(source: Source) -> str:
    """Digest of names, sizes and modification times of a source's files: cheap, and different once a file changes."""
    names = source.files if isinstance(source, SeriesRef) else [str(source)]
    facts: list[tuple[str, int, int]] = []
    for name in names:
        place, member = split_source(name)
        path = Path(place)  # a member of an archive changes with the archive
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for item in inside:
            stat = item.stat()
            facts.append((str(item) + member, stat.st_size, stat.st_mtime_ns))
    return digest_of(facts)
