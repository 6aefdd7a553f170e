"""Scores and comparators of the prognosis benchmark, from scikit-survival and lifelines: nothing of ours judges us."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from lifelines import AalenJohansenFitter
from numpy.typing import NDArray
from prognosis_generator import Cohort
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv

from domain.prognostic_data import PrognosticData

FloatArray = NDArray[np.float64]
Predictor = Callable[[PrognosticData, FloatArray], FloatArray]  # (data, days) -> survival (N, T)

SCORE_DAYS = np.linspace(30.0, 1096.0, 30)
TAU_DAYS = 1096.0
COX_RIDGE = 10.0  # the best of 0.1, 1, 10 and 30 at n = 100 and harmless at n = 1000


def outcome(data: PrognosticData) -> NDArray[np.void]:
    """Outcome of any cause as scikit-survival wants it."""
    assert data.cause is not None
    assert data.time_days is not None
    return Surv.from_arrays(data.cause > 0, np.maximum(data.time_days, 0.5))


def uno_c(train: PrognosticData, test: PrognosticData, survival: FloatArray) -> float:
    """Uno's C up to three years; risk is mortality averaged over the grid."""
    risk = 1.0 - survival.mean(axis=1)
    return float(concordance_index_ipcw(_within(train, test), outcome(test), risk, tau=TAU_DAYS)[0])


def ibs(train: PrognosticData, test: PrognosticData, survival: FloatArray) -> float:
    """Integrated Brier score over ``SCORE_DAYS``."""
    return float(integrated_brier_score(_within(train, test), outcome(test), survival, SCORE_DAYS))


def _within(train: PrognosticData, test: PrognosticData) -> NDArray[np.void]:
    """Censoring is learnt on train and test together: it is the same by construction, and covers every test time."""
    return np.concatenate([outcome(train), outcome(test)])


def main_effect_columns(data: PrognosticData) -> FloatArray:
    """What the main-effects Cox model sees: clinical, antibody class, whole embedding."""
    assert data.covariates is not None
    assert data.embedding is not None
    assert data.antibodies is not None
    positive = data.antibodies == 1
    mda5 = positive[:, data.antibody_keys.index("mda5")]
    ars = positive[:, [key in {"jo1", "pl7", "pl12", "ej", "oj", "ks"} for key in data.antibody_keys]].any(axis=1)
    return np.column_stack([data.covariates, mda5, ars, data.embedding])


def cox_main(train: PrognosticData, components: int = 4, ridge: float = COX_RIDGE) -> Predictor:
    """Ridge Cox with main effects: clinical, antibody class, the same embedding components as the head."""
    columns = main_effect_columns(train)
    mean = columns[:, -16:].mean(axis=0)
    basis = np.linalg.svd(columns[:, -16:] - mean, full_matrices=False)[2][:components].T

    def features(data: PrognosticData) -> FloatArray:
        raw = main_effect_columns(data)
        return np.column_stack([raw[:, :-16], (raw[:, -16:] - mean) @ basis])

    design = features(train)
    centre, scale = design.mean(axis=0), np.maximum(design.std(axis=0), 1e-9)
    model = CoxPHSurvivalAnalysis(alpha=ridge).fit((design - centre) / scale, outcome(train))

    def predict(data: PrognosticData, days: FloatArray) -> FloatArray:
        curves = model.predict_survival_function((features(data) - centre) / scale)
        return np.array([curve(np.clip(days, *curve.domain)) for curve in curves])

    return predict


def aalen_johansen_by_class(train: Cohort, test: Cohort, days: FloatArray, num_causes: int) -> FloatArray:
    """Cumulative incidence of the patient's antibody class. Shape (N, K, T)."""
    answer = np.zeros((len(test.data), num_causes, len(days)))
    assert train.data.time_days is not None
    assert train.data.cause is not None
    for train_rows, test_rows in _classes(train, test):
        for cause in range(1, num_causes + 1):
            fitter = AalenJohansenFitter(jitter_level=1e-4, seed=0, calculate_variance=False)
            if not (train.data.cause[train_rows] == cause).any():
                continue
            fitter.fit(train.data.time_days[train_rows], train.data.cause[train_rows], event_of_interest=cause)
            curve = fitter.cumulative_density_
            at = np.searchsorted(curve.index.to_numpy(), days, side="right") - 1
            answer[test_rows, cause - 1] = curve.to_numpy()[:, 0][np.maximum(at, 0)]
    return answer


def _classes(train: Cohort, test: Cohort) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    return [
        (train.is_mda5, test.is_mda5),
        (train.is_ars, test.is_ars),
        (~(train.is_mda5 | train.is_ars), ~(test.is_mda5 | test.is_ars)),
    ]
