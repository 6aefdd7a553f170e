"""Covariates as standardised columns with their missingness beside them. NaN is missing; missing is not the mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.covariates import load_covariate_vocabulary
from domain.prognostic_data import PrognosticData

FloatArray = NDArray[np.float64]

MAX_STANDARD_SCORE = 4.0  # beyond it a value acts like the limit: no extrapolation from one extreme laboratory value
MIN_SCALE = 0.1  # of a 0/1 level: a level seen in 1 % must not get ten times the effect per patient
MIN_OWN_INDICATOR = 0.1  # share missing (and present) from which a covariate gets an indicator of its own
DEFAULT_BLOCK = "clinical"


@dataclass(frozen=True, eq=False)
class ClinicalCoding:
    """Scaling of the covariates.

    Attributes:
        names: Covariates that vary in training, sorted.
        blocks: Block of each name.
        means: Shape (C,), in canonical units (logs taken).
        scales: Shape (C,), > 0.
        indicator_keys: Covariates (without level) whose own missingness is a column.
        block_names: Blocks, sorted.
    """

    names: tuple[str, ...]
    blocks: tuple[str, ...]
    means: FloatArray
    scales: FloatArray
    indicator_keys: tuple[str, ...]
    block_names: tuple[str, ...]

    def raw(self, data: PrognosticData) -> FloatArray:
        """Values in the order of ``names``, NaN where missing or unknown to ``data``. Shape (N, C)."""
        return pick_columns(data.covariates, data.covariate_names, self.names, len(data))

    def standard_scores(self, data: PrognosticData) -> FloatArray:
        """Standardised values, 0 where missing. Shape (N, C)."""
        scores = (self.raw(data) - self.means) / self.scales
        return np.nan_to_num(np.clip(scores, -MAX_STANDARD_SCORE, MAX_STANDARD_SCORE), nan=0.0)

    def missing_shares(self, data: PrognosticData) -> FloatArray:
        """Share of each block that is missing, then own indicators. Shape (N, blocks + indicator_keys)."""
        missing = np.isnan(self.raw(data)).astype(np.float64)
        columns = [missing[:, [b == block for b in self.blocks]].mean(axis=1) for block in self.block_names]
        for key in self.indicator_keys:
            columns.append(missing[:, next(i for i, name in enumerate(self.names) if base_key(name) == key)])
        return np.column_stack(columns) if columns else np.zeros((len(data), 0))


def base_key(name: str) -> str:
    """The covariate a coded column belongs to: ``sex`` for ``sex=male``."""
    return name.partition("=")[0]


def pick_columns(
    block: FloatArray | None, names: tuple[str, ...], wanted: tuple[str, ...], num_rows: int
) -> FloatArray:
    """Columns by name, NaN where there is none. Shape (num_rows, len(wanted))."""
    picked = np.full((num_rows, len(wanted)), np.nan)
    for column, name in enumerate(wanted):
        if block is not None and name in names:
            picked[:, column] = block[:, names.index(name)]
    return picked


def block_names(data: PrognosticData) -> tuple[str, ...]:
    """Block of each covariate of ``data``: as declared, else as the shipped vocabulary has it."""
    if data.covariate_blocks:
        return data.covariate_blocks
    vocabulary = load_covariate_vocabulary()
    known = dict(zip(vocabulary.coded_names, vocabulary.coded_blocks, strict=True))
    return tuple(known.get(name, DEFAULT_BLOCK) for name in data.covariate_names)


def fit_clinical_coding(data: PrognosticData) -> ClinicalCoding:
    """Learn means and scales from the values that are there; constant and empty columns are left out."""
    blocks_of = dict(zip(data.covariate_names, block_names(data), strict=True))
    names, means, scales = [], [], []
    for name in sorted(data.covariate_names):
        values = pick_columns(data.covariates, data.covariate_names, (name,), len(data))[:, 0]
        present = values[~np.isnan(values)]
        if len(present) and np.ptp(present) > 0:
            names.append(name)
            means.append(float(present.mean()))
            is_level = bool(np.isin(present, (0.0, 1.0)).all())
            scales.append(max(float(present.std()), MIN_SCALE if is_level else 1e-12))
    blocks = tuple(blocks_of[name] for name in names)
    coding = ClinicalCoding(tuple(names), blocks, np.array(means), np.array(scales), (), tuple(sorted(set(blocks))))
    share = np.isnan(coding.raw(data)).mean(axis=0) if names else np.zeros(0)
    often = [
        base_key(name)
        for name, missing in zip(names, share, strict=True)
        if MIN_OWN_INDICATOR <= missing <= 1 - MIN_OWN_INDICATOR
    ]
    indicators = tuple(dict.fromkeys(often))
    return ClinicalCoding(coding.names, blocks, coding.means, coding.scales, indicators, coding.block_names)
