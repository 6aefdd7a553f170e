"""What the prognostic head sees of a cohort: arrays with names, any block of which may be absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrognosticData:
    """Inputs, and for training outcomes, of N patients. Rows are patients; None means the block is absent.

    Attributes:
        case_ids: Shape (N,).
        antibody_keys: Keys of the columns of ``antibodies``.
        antibodies: int8, shape (N, A): 1 positive, 0 negative, -1 not tested (``antibodies.STATUS_CODES``).
        antibody_grades: Shape (N, A), line-blot grade 0..4, NaN where none was given.
        covariate_names: Names of the columns of ``covariates`` (``CovariateVocabulary.coded_names``).
        covariates: Shape (N, C), canonical units, logs taken; NaN where missing.
        embedding: Shape (N, D), image features of the network; a row of NaN has no image.
        pattern_probabilities: Shape (N, 4); out-of-fold for training; a row of NaN has no image.
        quantitative_names: Names of the columns of ``quantitative``.
        quantitative: Shape (N, Q), quantitative CT; NaN where missing.
        centres: Shape (N,), site names; used in training only.
        time_days: Shape (N,), >= 0, from the index CT.
        cause: int, shape (N,): 0 censored, k for the k-th cause of the endpoint.
        antibody_groups: Group of each antibody (``AntibodyVocabulary.group_names``); empty: the shipped vocabulary.
        covariate_blocks: Block of each covariate name; empty means the shipped vocabulary's, else ``clinical``.
        covariate_days: Shape (N, C), day of measurement counted from the index CT, NaN where unknown; None unchecked.
        patient_ids: Shape (N,); rows of one patient stay together in every fold and resample. None: one row each.
        patterns_out_of_fold: False marks probabilities (or an embedding) of a network trained on these patients.
    """

    case_ids: tuple[str, ...]
    antibody_keys: tuple[str, ...] = ()
    antibodies: NDArray[np.int8] | None = None
    antibody_grades: FloatArray | None = None
    covariate_names: tuple[str, ...] = ()
    covariates: FloatArray | None = None
    embedding: FloatArray | None = None
    pattern_probabilities: FloatArray | None = None
    quantitative_names: tuple[str, ...] = ()
    quantitative: FloatArray | None = None
    centres: tuple[str, ...] | None = None
    time_days: FloatArray | None = None
    cause: NDArray[np.int64] | None = None
    antibody_groups: tuple[str, ...] = ()
    covariate_blocks: tuple[str, ...] = ()
    covariate_days: FloatArray | None = None
    patient_ids: tuple[str, ...] | None = None
    patterns_out_of_fold: bool | None = None

    def __post_init__(self) -> None:
        for name in ("antibodies", "covariates", "embedding", "pattern_probabilities", "quantitative"):
            block = getattr(self, name)
            if block is not None and (block.ndim != 2 or len(block) != len(self)):
                raise ValueError(f"{name} must have shape ({len(self)}, columns), found {block.shape}")
        for name, names in (
            ("antibodies", self.antibody_keys),
            ("covariates", self.covariate_names),
            ("quantitative", self.quantitative_names),
        ):
            block = getattr(self, name)
            if block is not None and block.shape[1] != len(names):
                raise ValueError(f"{name} has {block.shape[1]} columns but {len(names)} names")

    def __len__(self) -> int:
        return len(self.case_ids)

    def take(self, rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]) -> PrognosticData:
        """The same blocks for some rows, in the order given."""
        index = np.arange(len(self))[np.asarray(rows)]
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                changed[field.name] = value[index]
            elif field.name in {"case_ids", "centres", "patient_ids"} and value is not None:
                changed[field.name] = tuple(value[i] for i in index)
        return self.replaced(**changed)

    def replaced(self, **blocks: object) -> PrognosticData:
        """A copy with some blocks replaced or added."""
        return replace(self, **blocks)  # type: ignore[arg-type]
