"""What the head takes from the image: embedding components, pattern logits, quantitative CT. All may be absent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.patterns import PATTERNS
from domain.prognostic_data import PrognosticData
from domain.quantities import TABLE_QUANTITIES
from models.prognosis.clinical_coding import MAX_STANDARD_SCORE, pick_columns

FloatArray = NDArray[np.float64]

PATIENTS_PER_COMPONENT = 8  # fewer images than this per component: fewer components
MIN_PROBABILITY = 0.01  # pattern probabilities are clipped here before the logit
PATTERN_LOGITS = ("logit_nsip", "logit_op", "logit_other")  # of the two components, and of neither


@dataclass(frozen=True, eq=False)
class ImageCoding:
    """Image columns learnt in training; the embedding's principal components, the rest standardised.

    Attributes:
        embedding_mean: Shape (D,), or (0,) without an embedding.
        components: Orthonormal rows, shape (M, D).
        has_patterns: Pattern logits are columns.
        quantity_names: Quantitative CT columns, sorted.
        means: Of all columns after projection, shape (F,).
        scales: Shape (F,), > 0.
    """

    embedding_mean: FloatArray
    components: FloatArray
    has_patterns: bool
    quantity_names: tuple[str, ...]
    means: FloatArray
    scales: FloatArray

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        patterns = PATTERN_LOGITS if self.has_patterns else ()
        return (*(f"component_{i + 1}" for i in range(len(self.components))), *patterns, *self.quantity_names)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block of each column."""
        patterns = len(PATTERN_LOGITS) * self.has_patterns
        return (
            *("image_embedding",) * len(self.components),
            *("image_pattern",) * patterns,
            *("quantitative_ct",) * len(self.quantity_names),
        )

    @property
    def gated(self) -> NDArray[np.bool_]:
        """Columns whose effect may differ by antibody: all but the finer quantities. Shape (F,)."""
        finer = set(self.quantity_names) - set(TABLE_QUANTITIES)
        return np.array([name not in finer for name in self.names], dtype=bool)

    def standard_scores(self, data: PrognosticData) -> FloatArray:
        """Standardised columns, 0 where missing. Shape (N, F)."""
        scores = (self.raw(data) - self.means) / self.scales
        return np.asarray(np.nan_to_num(np.clip(scores, -MAX_STANDARD_SCORE, MAX_STANDARD_SCORE), nan=0.0))

    def missing(self, data: PrognosticData) -> FloatArray:
        """1 where nothing of the image is there. Shape (N,)."""
        if not self.names:
            return np.ones(len(data))
        return np.asarray(np.isnan(self.raw(data)).all(axis=1), dtype=np.float64)

    def raw(self, data: PrognosticData) -> FloatArray:
        """Columns before standardisation, NaN where missing. Shape (N, F)."""
        parts = []
        if len(self.components):
            parts.append(self._project(data))
        if self.has_patterns:
            parts.append(pattern_logits(data))
        parts.append(pick_columns(data.quantitative, data.quantitative_names, self.quantity_names, len(data)))
        return np.column_stack(parts)

    def _project(self, data: PrognosticData) -> FloatArray:
        if data.embedding is None:
            return np.full((len(data), len(self.components)), np.nan)
        if data.embedding.shape[1] != len(self.embedding_mean):
            found, expected = data.embedding.shape[1], len(self.embedding_mean)
            raise ValueError(f"the embedding has {found} features; this model was fitted with {expected}")
        return np.asarray((data.embedding - self.embedding_mean) @ self.components.T)


def pattern_logits(data: PrognosticData) -> FloatArray:
    """Logits of the NSIP component, the OP component and neither. Shape (N, 3), NaN without an image."""
    if data.pattern_probabilities is None:
        return np.full((len(data), len(PATTERN_LOGITS)), np.nan)
    by_pattern = data.pattern_probabilities
    has_nsip = by_pattern[:, [p.has_nsip for p in PATTERNS]].sum(axis=1)
    has_op = by_pattern[:, [p.has_op for p in PATTERNS]].sum(axis=1)
    neither = by_pattern[:, [not (p.has_op or p.has_nsip) for p in PATTERNS]].sum(axis=1)
    shares = np.clip(np.column_stack([has_nsip, has_op, neither]), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.asarray(np.log(shares) - np.log1p(-shares))


def fit_image_coding(data: PrognosticData, max_components: int) -> ImageCoding:
    """Learn components and scales; columns that never vary are left out."""
    mean, components = _principal_components(data.embedding, max_components)
    quantities = tuple(
        name
        for column, name in sorted((name, name) for name in data.quantitative_names)
        if _varies(pick_columns(data.quantitative, data.quantitative_names, (column,), len(data)))
    )
    has_patterns = data.pattern_probabilities is not None and _varies(pattern_logits(data))
    width = len(components) + len(PATTERN_LOGITS) * has_patterns + len(quantities)
    draft = ImageCoding(mean, components, has_patterns, quantities, np.zeros(width), np.ones(width))
    raw = draft.raw(data)
    if not width:
        return draft
    scales = np.nanstd(raw, axis=0)
    return ImageCoding(
        mean, components, has_patterns, quantities, np.nanmean(raw, axis=0), np.where(scales > 1e-9, scales, 1.0)
    )


def _varies(columns: FloatArray) -> bool:
    present = columns[~np.isnan(columns).any(axis=1)]
    return len(present) > 1 and bool((np.ptp(present, axis=0) > 0).any())


def _principal_components(embedding: FloatArray | None, max_components: int) -> tuple[FloatArray, FloatArray]:
    """Mean (D,) and leading components (M, D), signs fixed by the largest loading."""
    present = np.zeros((0, 0)) if embedding is None else embedding[~np.isnan(embedding).any(axis=1)]
    count = min(max_components, present.shape[1], len(present) // PATIENTS_PER_COMPONENT)
    if not count:
        return np.zeros(0), np.zeros((0, 0))
    mean = present.mean(axis=0)
    covariance = np.cov(present, rowvar=False).reshape(present.shape[1], present.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    components = vectors[:, ::-1].T[:count]
    components = components[values[::-1][:count] > 1e-12]
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return mean, components * signs[:, None]
