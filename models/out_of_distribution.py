"""How unlike the training cohort a scan is: Mahalanobis distance on features, quantitative CT and image statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

FloatArray = NDArray[np.float64]

MAX_EMBEDDING_COMPONENTS = 6  # leading directions of the embedding; more would outnumber a small cohort's scans
CLIP_SD = 25.0  # a value 25 deviations out is as foreign as one 1000 out
MIN_SCALE = 1e-6


@dataclass(frozen=True, eq=False)
class OutOfDistribution:
    """Gaussian of the training cohort and the distance that is too far.

    Attributes:
        embedding_mean: Shape (D,).
        embedding_components: Shape (P, D), leading directions of the training embeddings.
        centre: Shape (V,), of the P components, then quantitative CT, then image statistics.
        scale: Shape (V,).
        precision: Shape (V, V), inverse of the shrunken covariance of the standardised values.
        threshold: Scores above it are out of distribution.
    """

    embedding_mean: FloatArray
    embedding_components: FloatArray
    centre: FloatArray
    scale: FloatArray
    precision: FloatArray
    threshold: float

    def score(self, embedding: FloatArray, quantitative: FloatArray, image_statistics: FloatArray) -> FloatArray:
        """Distance per scan: about 1 for training-like scans, growing without bound.

        Args:
            embedding: Shape (N, D).
            quantitative: Shape (N, Q), NaN where unknown: counted as ordinary.
            image_statistics: Shape (N, S).

        Returns:
            Shape (N,), >= 0: root of the mean squared standardised distance.
        """
        components = (embedding - self.embedding_mean) @ self.embedding_components.T
        values = self._standardise(np.hstack([components, quantitative, image_statistics]))
        squared = np.einsum("nv,vw,nw->n", values, self.precision, values)
        distance: FloatArray = np.sqrt(np.maximum(squared, 0) / values.shape[1])
        return distance

    def _standardise(self, values: FloatArray) -> FloatArray:
        standardised: FloatArray = np.clip((values - self.centre) / self.scale, -CLIP_SD, CLIP_SD)
        return np.nan_to_num(standardised, nan=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        arrays = ("embedding_mean", "embedding_components", "centre", "scale", "precision")
        return {"method": "mahalanobis", "threshold": self.threshold} | {
            name: np.asarray(getattr(self, name)).tolist() for name in arrays
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> OutOfDistribution:
        """From ``to_dict``.

        Raises:
            ValueError: Another method.
        """
        if value.get("method") != "mahalanobis":
            raise ValueError(f"unknown out-of-distribution method {value.get('method')!r}")
        mean = np.array(value["embedding_mean"])
        return cls(
            embedding_mean=mean,
            embedding_components=np.array(value["embedding_components"]).reshape(-1, len(mean)),
            centre=np.array(value["centre"]),
            scale=np.array(value["scale"]),
            precision=np.array(value["precision"]),
            threshold=float(value["threshold"]),
        )


def fit_out_of_distribution(
    embedding: FloatArray,
    quantitative: FloatArray,
    image_statistics: FloatArray,
    *,
    held_out: Sequence[NDArray[np.int64]],
    quantile: float = 0.95,
) -> OutOfDistribution:
    """Fit on a cohort; the threshold comes from scans the Gaussian did not see.

    Distances of the scans a Gaussian was fitted on are too small, the more so the smaller the cohort. So it is
    fitted once without each fold, the fold is scored, and the threshold is the quantile of those scores, raised by
    the rank rule of conformal prediction (the largest score plus a tenth for fewer than 19 scans). At 0.95 one or two
    odd scans of a small cohort cannot set the limit; at 0.99 they did.

    Args:
        embedding: Shape (N, D), out of fold, shared axes.
        quantitative: Shape (N, Q), NaN where unknown.
        image_statistics: Shape (N, S).
        held_out: Rows of each fold.
        quantile: Share of cohort-like scans that shall pass.
    """
    blocks = (embedding, quantitative, image_statistics)
    scores = []
    for rows in held_out:
        rest = np.setdiff1d(np.arange(len(embedding)), rows)
        scores.append(_fit_gaussian(*(block[rest] for block in blocks)).score(*(block[rows] for block in blocks)))
    seen = np.sort(np.concatenate(scores))
    rank = int(np.ceil((len(seen) + 1) * quantile))
    threshold = seen[rank - 1] if rank <= len(seen) else 1.1 * seen[-1]
    fitted = _fit_gaussian(*blocks)
    return OutOfDistribution(
        fitted.embedding_mean,
        fitted.embedding_components,
        fitted.centre,
        fitted.scale,
        fitted.precision,
        float(threshold),
    )


def _fit_gaussian(embedding: FloatArray, quantitative: FloatArray, image_statistics: FloatArray) -> OutOfDistribution:
    """Centre, scale and shrunken precision of a cohort; no threshold yet."""
    mean = embedding.mean(axis=0)
    num_components = min(MAX_EMBEDDING_COMPONENTS, embedding.shape[1], max(len(embedding) - 1, 1))
    components = np.linalg.svd(embedding - mean, full_matrices=False)[2][:num_components]
    values = np.hstack([(embedding - mean) @ components.T, quantitative, image_statistics])
    known = np.isfinite(values)
    counts = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0.0)
    centre = filled.sum(axis=0) / counts
    scale = np.sqrt((np.where(known, values - centre, 0.0) ** 2).sum(axis=0) / counts)
    # A measure that never varied says nothing about how far is far; its scale is set by its own size.
    scale = np.where(scale > MIN_SCALE, scale, np.maximum(np.abs(centre), 1.0))
    standardised = np.nan_to_num((values - centre) / scale, nan=0.0)
    covariance, _ = ledoit_wolf(standardised, assume_centered=True)
    # The floor keeps a direction without variance from turning rounding errors into distance.
    precision = np.linalg.inv(covariance + 0.02 * np.eye(len(covariance)))
    return OutOfDistribution(mean, components, centre, scale, precision, float("inf"))
