"""Clinical covariates: the vocabulary with unit, range and scaling, and their coding as numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from domain.config_files import resolve_config
from domain.specs import Settings
from domain.strict_yaml import load_settings


class CovariateKind(StrEnum):
    """How a covariate is measured."""

    CONTINUOUS = "continuous"
    CATEGORICAL = "categorical"


class CovariateBlock(StrEnum):
    """Groups shown and penalised together. Treatment is associated with outcome, never said to cause it."""

    DEMOGRAPHIC = "demographic"
    DISEASE = "disease"
    LABORATORY = "laboratory"
    PHYSIOLOGY = "physiology"
    INTERFERON = "interferon"
    TREATMENT = "treatment"


class Scale(StrEnum):
    """Scale on which a continuous covariate acts on the log hazard."""

    LINEAR = "linear"
    LOG = "log"


class CovariateEntry(Settings):
    """One covariate. A continuous one names its unit in the column: ``ferritin_ng_ml``.

    Attributes:
        key: Name without unit.
        unit: Suffix of the column and canonical unit; empty for categorical ones.
        other_units: Suffix of an accepted other unit -> factor to the canonical unit.
        plausible_range: Values outside are refused as impossible or in another unit.
        levels: Levels of a categorical covariate; the first is the reference.
    """

    key: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str
    kind: CovariateKind = CovariateKind.CONTINUOUS
    block: CovariateBlock
    unit: str = ""
    other_units: dict[str, float] = Field(default_factory=dict)
    scale: Scale = Scale.LINEAR
    plausible_range: tuple[float, float] = (-sys.float_info.max, sys.float_info.max)  # JSON knows no infinity
    levels: tuple[str, ...] = ()
    source: str

    @model_validator(mode="after")
    def _fits_its_kind(self) -> CovariateEntry:
        if self.kind is CovariateKind.CATEGORICAL and (len(self.levels) < 2 or self.unit):
            raise ValueError(f"{self.key}: a categorical covariate has at least two levels and no unit")
        if self.kind is CovariateKind.CONTINUOUS and (self.levels or not self.unit):
            raise ValueError(f"{self.key}: a continuous covariate has a unit and no levels")
        if self.scale is Scale.LOG and self.plausible_range[0] < 0:
            raise ValueError(f"{self.key}: a covariate on the log scale cannot be negative")
        return self

    @property
    def column(self) -> str:
        """Column of the case table, canonical unit included."""
        return f"{self.key}_{self.unit}" if self.unit else self.key

    @property
    def columns_with_factor(self) -> dict[str, float]:
        """Every accepted column -> factor to the canonical unit."""
        return {self.column: 1.0} | {f"{self.key}_{unit}": factor for unit, factor in self.other_units.items()}


CovariateValue = float | str


class CovariateVocabulary(Settings):
    """All covariates, in the order of every array. It only grows at the end."""

    format_version: int = 1
    covariates: tuple[CovariateEntry, ...]

    @model_validator(mode="after")
    def _columns_are_unique(self) -> CovariateVocabulary:
        columns = [column for entry in self.covariates for column in entry.columns_with_factor]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"columns name two covariates: {', '.join(twice)}")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys in order."""
        return tuple(entry.key for entry in self.covariates)

    @property
    def coded_names(self) -> tuple[str, ...]:
        """Names of the columns of ``code``: the key, or ``key=level`` for each level but the reference."""
        names: list[str] = []
        for entry in self.covariates:
            names += [f"{entry.key}={level}" for level in entry.levels[1:]] or [entry.key]
        return tuple(names)

    @property
    def coded_blocks(self) -> tuple[str, ...]:
        """Block of each of ``coded_names``."""
        return tuple(entry.block.value for entry in self.covariates for _ in entry.levels[1:] or (entry.key,))

    def code(self, rows: Sequence[Mapping[str, CovariateValue]]) -> NDArray[np.float64]:
        """Covariates as numbers: canonical unit, natural logarithm where the entry says so, 0/1 for levels.

        Args:
            rows: One mapping from key to value (canonical unit) per patient; a missing key is a missing value.

        Returns:
            Shape (N, len(coded_names)), NaN where missing. Values at or below 0 on a log scale are raised to the
            lower end of the plausible range, or to 1e-3 of a unit where that is 0: an assay's "below detection".
        """
        return np.array([self._code_one(row) for row in rows]).reshape(len(rows), len(self.coded_names))

    def _code_one(self, row: Mapping[str, CovariateValue]) -> list[float]:
        coded: list[float] = []
        for entry in self.covariates:
            value = row.get(entry.key)
            if entry.kind is CovariateKind.CATEGORICAL:
                coded += [math.nan if value is None else float(value == level) for level in entry.levels[1:]]
            elif value is None:
                coded.append(math.nan)
            elif entry.scale is Scale.LOG:
                coded.append(math.log(max(float(value), entry.plausible_range[0], 1e-3)))
            else:
                coded.append(float(value))
        return coded


def load_covariate_vocabulary(name_or_path: str = "covariates") -> CovariateVocabulary:
    """A shipped covariate vocabulary, or a cohort's own YAML file."""
    return load_settings(CovariateVocabulary, resolve_config(name_or_path, "vocabularies"))
