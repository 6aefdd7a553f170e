"""Network inputs of several scans in, raw outputs and evidence per scan out, in batches of one fixed size.

A scan's output must not depend on which scans happened to be ready with it. On a GPU the kernel follows from the
shape of the batch, so a batch is filled up with blanks to always the same size; whether a scan then really comes out
the same beside any neighbour in any place is tried once on the device (``settle_batch_size``). Calibration is not here.

B batch, C channels, I J K voxels, Q quantitative measures, M members, D embedding, S image statistics.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.batch_keys import IMAGE, IMAGE_MASK, IMAGE_TISSUE, QUANTITATIVE
from models.calibrator import Calibrator
from models.devices import autocast, channels_last, place
from models.evidence import evidence_from_maps, explained_maps
from models.image_statistics import image_statistics
from models.network import PatternNetwork

logger = logging.getLogger(__name__)

NETWORK_KEYS = (IMAGE, IMAGE_MASK, IMAGE_TISSUE, QUANTITATIVE)
GPU_BATCH_SIZE = 4  # one scan at 1.5 mm keeps a large GPU busy; small inputs gain from company


def network_part(item: Mapping[str, Any]) -> dict[str, Any]:
    """What of a preprocessed scan a network may need: little enough to send to another process."""
    return {key: item[key] for key in NETWORK_KEYS if key in item}


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What the members say of one scan, uncalibrated.

    Attributes:
        logits: Shape (M, 4), float64.
        embedding: Shape (M, D), float64, shared axes.
        image_statistics: Shape (S,), float64.
        evidence: Shape (I, J, K), float32, 0..1, mean over members; None without, or where no member sees the image.
        seen: Shape (I, J, K), bool: voxels not blank in every channel; None where there is no evidence.
    """

    logits: NDArray[np.float64]
    embedding: NDArray[np.float64]
    image_statistics: NDArray[np.float64]
    evidence: NDArray[np.float32] | None = None
    seen: NDArray[np.bool_] | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, for another process; what is None is left out."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> NetworkOutput:
        """Back from ``arrays``."""
        return cls(**arrays)

    def equals(self, other: NetworkOutput) -> bool:
        """The same bytes."""
        mine, theirs = self.arrays(), other.arrays()
        return mine.keys() == theirs.keys() and all(mine[name].tobytes() == theirs[name].tobytes() for name in mine)


class Ensemble:
    """Networks of one spec on one device.

    Args:
        members: At least one.
        calibrator: Says which pattern is the answer: the one that the evidence is made for.
        device: Where the members run.

    Attributes:
        batch_size: Scans per pass; fewer are filled up with blanks. 1 on a CPU, where company gains nothing.
    """

    def __init__(self, members: Sequence[PatternNetwork], calibrator: Calibrator, device: torch.device) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        for member in members:
            place(member.eval(), device)
        self.members = tuple(members)
        self.calibrator = calibrator
        self.device = device
        self.batch_size = 1 if device.type == "cpu" else GPU_BATCH_SIZE

    def run(
        self, images: Sequence[Tensor], quantities: Sequence[Tensor], *, with_evidence: bool = True
    ) -> list[NetworkOutput]:
        """One output per scan, in their order.

        Args:
            images: Shape (C, I, J, K) each, on any device; shapes may differ from scan to scan.
            quantities: Shape (Q,) each.
            with_evidence: Also make the evidence maps.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_shape.setdefault(tuple(image.shape), []).append(index)
        found: dict[int, NetworkOutput] = {}
        for rows in by_shape.values():
            for start in range(0, len(rows), self.batch_size):
                batch = rows[start : start + self.batch_size]
                image = self._batch([images[row] for row in batch])
                quantity = self._batch([quantities[row] for row in batch])
                outputs = self._pass(channels_last(image), quantity, len(batch), with_evidence=with_evidence)
                found.update(zip(batch, outputs, strict=True))
        return [found[index] for index in range(len(images))]

    def _batch(self, rows: Sequence[Tensor]) -> Tensor:
        """Rows stacked and filled up with blanks. Shape (batch_size, ...)."""
        batch = torch.zeros((self.batch_size, *rows[0].shape), dtype=torch.float32, device=self.device)
        for place_in_batch, row in zip(batch, rows, strict=False):
            place_in_batch.copy_(row)
        return batch

    def _pass(self, image: Tensor, quantity: Tensor, count: int, *, with_evidence: bool) -> list[NetworkOutput]:
        """One pass of all members over a full batch; outputs of its first ``count`` scans."""
        with fixed_kernels(), autocast(self.device):
            maps = [explained_maps(member, image) for member in self.members]
            with torch.set_grad_enabled(with_evidence):
                answers = [member.from_maps(each, quantity) for member, each in zip(self.members, maps, strict=True)]
            logits = stacked([answer["pattern_logits"] for answer in answers])  # (B, M, 4)
            embedding = stacked([answer["embedding"] for answer in answers])  # (B, M, D)
            patterns = [int(self.calibrator.probabilities(each.mean(axis=0)).argmax()) for each in logits]
            evidence = self._evidence(image, maps, answers, patterns) if with_evidence else None  # (B, I, J, K)
        statistics = image_statistics(image).double().cpu().numpy()  # (B, S)
        seen = (image != 0).any(dim=1)[:count].cpu().numpy() if evidence is not None else None
        return [
            NetworkOutput(
                logits[row],
                embedding[row],
                statistics[row],
                None if evidence is None else evidence[row],
                None if seen is None else seen[row],
            )
            for row in range(count)
        ]

    def _evidence(
        self,
        image: Tensor,
        maps: Sequence[Sequence[Tensor]],
        answers: Sequence[Mapping[str, Tensor]],
        patterns: Sequence[int],
    ) -> NDArray[np.float32] | None:
        grids = [
            evidence_from_maps(member, each, answer["pattern_logits"], patterns, image.shape[2:])
            for member, each, answer in zip(self.members, maps, answers, strict=True)
            if member.backbone.sees_image
        ]
        if not grids:
            return None
        mean = torch.stack(grids).mean(dim=0)  # (B, I, J, K)
        peak = mean.amax(dim=(1, 2, 3), keepdim=True)
        scaled: NDArray[np.float32] = torch.where(peak > 0, mean / peak, mean).cpu().numpy()
        return scaled


def stacked(parts: Sequence[Tensor]) -> NDArray[np.float64]:
    """One (B, N) per member to (B, M, N), on the CPU."""
    together: NDArray[np.float64] = torch.stack([part.detach() for part in parts], dim=1).double().cpu().numpy()
    return together


@contextmanager
def fixed_kernels() -> Iterator[None]:
    """Convolutions by the same deterministic kernel each time, whatever ran before."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def settle_batch_size(ensemble: Ensemble, image: Tensor, quantity: Tensor) -> int:
    """Find out whether a scan comes out the same alone and among others on this device; else run scans one by one.

    Args:
        ensemble: Its ``batch_size`` is set to what is safe.
        image: Any scan's input, shape (C, I, J, K).
        quantity: Shape (Q,).

    Returns:
        The size settled on: the same for the same device and model.
    """
    size = ensemble.batch_size
    if size == 1:
        return 1
    others = [(image.flip(axis) * 0.9, quantity * 1.1) for axis in (1, 2, 3)]
    others = [others[index % len(others)] for index in range(size - 1)]
    try:
        (alone,) = ensemble.run([image], [quantity])
        for position in (1, size - 1):
            batch = [*others[:position], (image, quantity), *others[position:]]
            outputs = ensemble.run([each for each, _ in batch], [each for _, each in batch])
            if not outputs[position].equals(alone):
                logger.warning("a scan's output depends on its neighbours on this device: scans are run one by one")
                ensemble.batch_size = 1
                break
    except torch.OutOfMemoryError:
        logger.warning("%d scans at once do not fit into this device: scans are run one by one", size)
        torch.cuda.empty_cache()
        ensemble.batch_size = 1
    return ensemble.batch_size
