"""How unlike the training cohort a scan is, in any of three ways: embedding, quantitative CT, image statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

FloatArray = NDArray[np.float64]

METHOD = "mahalanobis_by_block"
BLOCKS: tuple[str, ...] = ("embedding", "quantitative", "image_statistics")
MAX_EMBEDDING_COMPONENTS = 6  # leading directions of the embedding; more would outnumber a small cohort's scans
CLIP_SD = 25.0  # a value 25 deviations out is as foreign as one 1000 out
MIN_SCALE = 1e-6


@dataclass(frozen=True, eq=False)
class Gaussian:
    """One block of numbers in the training cohort.

    Attributes:
        centre: Shape (V,).
        scale: Shape (V,).
        precision: Shape (V, V), inverse of the shrunken covariance of the standardised values.
        limit: Distance that few cohort-like scans exceed; distances are given as multiples of it.
    """

    centre: FloatArray
    scale: FloatArray
    precision: FloatArray
    limit: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("centre", "scale", "precision")}
        return arrays | {"limit": self.limit}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Gaussian:
        """From ``to_dict``."""
        centre, scale, precision = (np.array(value[name]) for name in ("centre", "scale", "precision"))
        return cls(centre, scale, precision, float(value["limit"]))

    def distance(self, values: FloatArray) -> FloatArray:
        """Root of the mean squared standardised distance over ``limit``. Shape (N, V), NaN counted as ordinary."""
        standardised = np.nan_to_num(np.clip((values - self.centre) / self.scale, -CLIP_SD, CLIP_SD), nan=0.0)
        squared = np.einsum("nv,vw,nw->n", standardised, self.precision, standardised)
        distance: FloatArray = np.sqrt(np.maximum(squared, 0) / values.shape[1]) / self.limit
        return distance


@dataclass(frozen=True, eq=False)
class OutOfDistribution:
    """A Gaussian per block and the largest distance of a cohort-like scan.

    Attributes:
        embedding_mean: Shape (D,).
        embedding_components: Shape (P, D), leading directions of the training embeddings.
        gaussians: In the order of ``BLOCKS``.
        threshold: Scores above it are out of distribution.
    """

    embedding_mean: FloatArray
    embedding_components: FloatArray
    gaussians: tuple[Gaussian, ...]
    threshold: float

    def score(self, embedding: FloatArray, quantitative: FloatArray, image_statistics: FloatArray) -> FloatArray:
        """Largest distance of any block: below about 1 for training-like scans, growing without bound.

        The largest and not the mean: a scan that is odd in one way only must not be excused by all the ordinary
        numbers beside it.

        Args:
            embedding: Shape (N, D).
            quantitative: Shape (N, Q), NaN where unknown: counted as ordinary.
            image_statistics: Shape (N, S).

        Returns:
            Shape (N,), >= 0.
        """
        blocks = self.blocks_of(embedding, quantitative, image_statistics)
        distances = [gaussian.distance(block) for gaussian, block in zip(self.gaussians, blocks, strict=True)]
        score: FloatArray = np.max(distances, axis=0)
        return score

    def blocks_of(self, embedding: FloatArray, quantitative: FloatArray, statistics: FloatArray) -> list[FloatArray]:
        """The numbers of each block, in the order of ``BLOCKS``."""
        return [(embedding - self.embedding_mean) @ self.embedding_components.T, quantitative, statistics]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        blocks = {name: gaussian.to_dict() for name, gaussian in zip(BLOCKS, self.gaussians, strict=True)}
        return {
            "method": METHOD,
            "threshold": self.threshold,
            "embedding_mean": self.embedding_mean.tolist(),
            "embedding_components": self.embedding_components.tolist(),
            "blocks": blocks,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> OutOfDistribution:
        """From ``to_dict``.

        Raises:
            ValueError: Another method.
        """
        if value.get("method") != METHOD:
            raise ValueError(f"unknown out-of-distribution method {value.get('method')!r}")
        mean = np.array(value["embedding_mean"])
        stored = [value["blocks"][name] for name in BLOCKS]
        return cls(
            embedding_mean=mean,
            embedding_components=np.array(value["embedding_components"]).reshape(-1, len(mean)),
            gaussians=tuple(
                Gaussian(
                    np.array(one["centre"]), np.array(one["scale"]), np.array(one["precision"]), float(one["limit"])
                )
                for one in stored
            ),
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
    """Fit on a cohort; limits and threshold come from scans the Gaussians did not see.

    Distances of the scans a Gaussian was fitted on are too small, the more so the smaller the cohort. So the
    Gaussians are fitted once without each fold and the fold is scored. A block's limit, and the threshold of the
    largest distance over blocks, are quantiles of those scores, raised by the rank rule of conformal prediction (the
    largest score plus a tenth for fewer than 19 scans). At 0.95 one or two odd scans of a small cohort cannot set the
    limit; at 0.99 they did.

    Args:
        embedding: Shape (N, D), out of fold, shared axes.
        quantitative: Shape (N, Q), NaN where unknown.
        image_statistics: Shape (N, S).
        held_out: Rows of each fold.
        quantile: Share of cohort-like scans that shall pass.
    """
    blocks = (embedding, quantitative, image_statistics)
    distances = np.zeros((len(embedding), len(BLOCKS)))
    for rows in held_out:
        rest = np.setdiff1d(np.arange(len(embedding)), rows)
        fitted = _fit(*(block[rest] for block in blocks))
        parts = fitted.blocks_of(*(block[rows] for block in blocks))
        for column, (gaussian, part) in enumerate(zip(fitted.gaussians, parts, strict=True)):
            distances[rows, column] = gaussian.distance(part)
    limits = [max(_limit(column, quantile), MIN_SCALE) for column in distances.T]
    everything = _fit(*blocks)
    gaussians = tuple(
        replace(gaussian, limit=limit) for gaussian, limit in zip(everything.gaussians, limits, strict=True)
    )
    return replace(everything, gaussians=gaussians, threshold=_limit((distances / limits).max(axis=1), quantile))


def _limit(scores: FloatArray, quantile: float) -> float:
    """The quantile with the finite-sample rank."""
    seen = np.sort(scores)
    rank = int(np.ceil((len(seen) + 1) * quantile))
    return float(seen[rank - 1] if rank <= len(seen) else 1.1 * seen[-1])


def _fit(embedding: FloatArray, quantitative: FloatArray, image_statistics: FloatArray) -> OutOfDistribution:
    """All three Gaussians; limits of 1 and no threshold yet."""
    mean = embedding.mean(axis=0)
    num_components = min(MAX_EMBEDDING_COMPONENTS, embedding.shape[1], max(len(embedding) - 1, 1))
    components = np.linalg.svd(embedding - mean, full_matrices=False)[2][:num_components]
    blocks = ((embedding - mean) @ components.T, quantitative, image_statistics)
    return OutOfDistribution(mean, components, tuple(_fit_gaussian(block) for block in blocks), float("inf"))


def _fit_gaussian(values: FloatArray) -> Gaussian:
    """Centre, scale and shrunken precision of a block, (N, V), NaN where unknown."""
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
    return Gaussian(centre, scale, precision)
