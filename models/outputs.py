"""What a network says of a whole dataset, gathered as arrays. Nothing is trained or calibrated here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from domain import batch_keys
from models.batches import Finish
from models.devices import autocast, channels_last
from models.image_statistics import image_statistics

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NetworkOutputs:
    """Rows in the order they came.

    Attributes:
        logits: Shape (N, 4), pattern logits before calibration.
        branch_logits: Shape (N, R, 4), what each branch says alone.
        embedding: Shape (N, D).
        quantitative: Shape (N, Q), physical units, NaN where unknown.
        image_statistics: Shape (N, S); see ``models.image_statistics``.
        targets: Shape (N, 4), NaN rows for unlabelled scans.
    """

    logits: FloatArray
    branch_logits: FloatArray
    embedding: FloatArray
    quantitative: FloatArray
    image_statistics: FloatArray
    targets: FloatArray

    @classmethod
    def concatenate(cls, parts: Sequence[NetworkOutputs]) -> NetworkOutputs:
        """Rows of several, one after the other."""
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        )

    def mean_of_each(self, times: int) -> NetworkOutputs:
        """The mean of every ``times`` rows that follow one another, for rows that were judged several times."""
        means = {field.name: getattr(self, field.name) for field in fields(self)}
        return NetworkOutputs(
            **{name: value.reshape(-1, times, *value.shape[1:]).mean(axis=1) for name, value in means.items()}
        )

    def take(self, rows: NDArray[np.int64]) -> NetworkOutputs:
        """Some rows, in the order given."""
        return NetworkOutputs(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@torch.no_grad()
def gather_outputs(
    network: nn.Module, batches: Iterable[dict[str, Any]], device: torch.device, finish: Finish | None = None
) -> NetworkOutputs:
    """Run a network in evaluation mode over batches of ``domain.batch_keys``.

    Args:
        network: On the device.
        batches: From ``make_loader``.
        device: Where it runs.
        finish: Last steps of the graph, for items that stop before them.

    Raises:
        ValueError: No batch came.
    """
    network.eval()
    columns: dict[str, list[FloatArray]] = {}
    for batch in batches:
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        batch = batch if finish is None else finish(batch)
        image, quantitative = batch[batch_keys.IMAGE], batch[batch_keys.QUANTITATIVE]
        with autocast(device):
            output = network(channels_last(image), quantitative)
        values = {
            "logits": output["pattern_logits"],
            "branch_logits": output["branch_logits"],
            "embedding": output["embedding"],
            "quantitative": quantitative,
            "image_statistics": image_statistics(image),
            "targets": batch[batch_keys.PATTERN_TARGET],
        }
        for name, value in values.items():
            columns.setdefault(name, []).append(value.double().cpu().numpy())
    if not columns:
        raise ValueError("a network was asked about an empty dataset")
    return NetworkOutputs(**{name: np.concatenate(parts) for name, parts in columns.items()})
