"""Copies of each training patient with inputs masked, so that a missing input has learnt effects of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis.antibody_coding import NOT_TESTED
from models.prognosis.feature_space import FeatureSpace
from models.prognosis.likelihood import Rows
from models.prognosis.time_grid import TimeGrid

FloatArray = NDArray[np.float64]

ONE_ITEM_SALT = 17  # its own random stream: which one item of a patient is masked


@dataclass(frozen=True, eq=False)
class Copy:
    """A masked version of some patients.

    Attributes:
        data: Inputs with something masked, all N patients.
        rows: Patients this copy is made of (those who had what is masked), shape (N,).
        weight: Weight of each row in the likelihood.
    """

    data: PrognosticData
    rows: NDArray[np.bool_]
    weight: float


def masked_copies(data: PrognosticData, space: FeatureSpace, settings: PrognosisSettings) -> tuple[Copy, ...]:
    """The copies of a cohort: no panel; one antibody group or covariate block less; no image; no tables.

    A patient gets a copy only where the mask takes something away.
    """
    tested = (space.antibody.states(data) != NOT_TESTED).any(axis=1)
    has_covariates = ~np.isnan(space.clinical.raw(data)).all(axis=1)
    has_image, share = space.has_image(data), settings.masked_share_weight
    has_tables = tested | has_covariates
    one_item, one_item_rows = mask_one_item(data, space, settings.seed)
    copies = (
        Copy(mask_antibodies(data), tested, settings.masked_copy_weight),
        Copy(mask_image(data), has_image & has_tables, share),
        Copy(mask_covariates(mask_antibodies(data)), has_image & has_tables, share),
        Copy(mask_antibodies(mask_image(data)), has_image & tested & has_covariates, share),
        Copy(one_item, one_item_rows, share),
    )
    return tuple(copy for copy in copies if copy.weight > 0 and copy.rows.any())


def mask_antibodies(data: PrognosticData) -> PrognosticData:
    """No antibody tested."""
    if data.antibodies is None:
        return data
    return data.replaced(antibodies=np.full_like(data.antibodies, NOT_TESTED), antibody_grades=None)


def mask_image(data: PrognosticData) -> PrognosticData:
    """No image."""
    return data.replaced(embedding=None, pattern_probabilities=None, quantitative=None, quantitative_names=())


def mask_covariates(data: PrognosticData) -> PrognosticData:
    """No covariate."""
    return data.replaced(covariates=None, covariate_names=(), covariate_blocks=(), covariate_days=None)


def mask_one_item(data: PrognosticData, space: FeatureSpace, seed: int) -> tuple[PrognosticData, NDArray[np.bool_]]:
    """One antibody group or one covariate block less per patient, drawn at random.

    Returns:
        The masked data, and the patients who lost something, shape (N,).
    """
    items = [*space.antibody.groups, *space.clinical.block_names]
    if len(items) < 2:  # masking the only item is another copy's task
        return data, np.zeros(len(data), dtype=bool)
    drawn = np.random.default_rng([seed, ONE_ITEM_SALT]).integers(len(items), size=len(data))
    states = space.antibody.states(data)
    values = space.clinical.raw(data)
    lost = np.zeros(len(data), dtype=bool)
    for index, item in enumerate(items):
        rows = drawn == index
        if index < len(space.antibody.groups):
            columns = np.array([group == item for group in space.antibody.key_groups], dtype=bool)
            lost[rows] = (states[np.ix_(rows, columns)] != NOT_TESTED).any(axis=1)
            states[np.ix_(rows, columns)] = NOT_TESTED
        else:
            columns = np.array([block == item for block in space.clinical.blocks], dtype=bool)
            lost[rows] = (~np.isnan(values[np.ix_(rows, columns)])).any(axis=1)
            values[np.ix_(rows, columns)] = np.nan
    masked = data.replaced(
        antibodies=states,
        antibody_keys=space.antibody.keys,
        antibody_groups=space.antibody.key_groups,
        antibody_grades=space.antibody.grades(data),
        covariates=values,
        covariate_names=space.clinical.names,
        covariate_blocks=space.clinical.blocks,
        covariate_days=None,
    )
    return masked, lost


def training_rows(data: PrognosticData, space: FeatureSpace, grid: TimeGrid, settings: PrognosisSettings) -> Rows:
    """Patients and their masked copies as rows of the likelihood; the first N rows are the patients themselves.

    Args:
        data: Cleaned outcomes required.
        space: Columns.
        grid: Intervals.
        settings: Weights of the copies.
    """
    if data.time_days is None or data.cause is None:
        raise ValueError("training needs time_days and cause")
    copies = (Copy(data, np.ones(len(data), dtype=bool), 1.0), *masked_copies(data, space, settings))
    static, temporal, patient, weight = [], [], [], []
    for copy in copies:
        built = space.build(copy.data.take(copy.rows))
        static.append(built[0])
        temporal.append(built[1])
        patient.append(np.flatnonzero(copy.rows))
        weight.append(np.full(int(copy.rows.sum()), copy.weight))
    index = np.concatenate(patient)
    return Rows(
        static=np.concatenate(static),
        temporal=np.concatenate(temporal),
        exposure=grid.exposure(data.time_days)[index],
        interval=grid.interval_of(data.time_days)[index],
        cause=data.cause[index],
        weight=np.concatenate(weight),
        patient=index,
        log_time=grid.log_time,
    )
