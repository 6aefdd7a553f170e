"""From piecewise-constant hazards to survival and cumulative incidence, in closed form. Nothing is fitted here.

Legend: N rows, K causes, J intervals, T days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.prognosis.time_grid import TimeGrid

FloatArray = NDArray[np.float64]

MAX_LOG_HAZARD = 5.0  # 148 events per patient and day: far beyond any patient, far below overflow


def survival(log_hazard: FloatArray, grid: TimeGrid, days: FloatArray) -> FloatArray:
    """Probability of no event of any cause until each day.

    ``S(t) = exp(-sum_j h_j e_j(t))`` with ``h_j`` the sum over causes and ``e_j(t)`` the days spent in interval j.

    Args:
        log_hazard: Log hazard per day, shape (N, K, J).
        grid: The intervals.
        days: Shape (T,), >= 0.

    Returns:
        Shape (N, T), in [0, 1]; NaN beyond the supported time.
    """
    total = np.exp(np.minimum(log_hazard, MAX_LOG_HAZARD)).sum(axis=1)  # (N, J)
    curves = np.exp(-total @ grid.exposure(days).T)  # (N, T)
    curves[:, days > grid.supported_days] = np.nan
    return np.asarray(curves)


def cumulative_incidence(log_hazard: FloatArray, grid: TimeGrid, days: FloatArray) -> FloatArray:
    """Probability of a first event of each cause until each day.

    ``F_k(t) = sum_j S(a_j) h_kj / h_j (1 - exp(-h_j e_j(t)))``; the causes and survival add up to 1.

    Args:
        log_hazard: Log hazard per day, shape (N, K, J).
        grid: The intervals.
        days: Shape (T,), >= 0.

    Returns:
        Shape (N, K, T), in [0, 1]; NaN beyond the supported time.

    Source:
        Aalen & Johansen 1978 (product integral), with constant hazards inside an interval.
    """
    hazard = np.exp(np.minimum(log_hazard, MAX_LOG_HAZARD))  # (N, K, J)
    total = hazard.sum(axis=1)  # (N, J)
    widths = np.diff(grid.edges_days)
    at_start = np.exp(-(np.cumsum(total * widths, axis=1) - total * widths))  # (N, J)
    share = hazard / np.maximum(total, 1e-300)[:, None, :]  # (N, K, J)
    incidence = np.empty((*hazard.shape[:2], len(days)))
    for index, spent in enumerate(grid.exposure(days)):
        lost = -np.expm1(-total * spent) * at_start  # (N, J)
        incidence[:, :, index] = np.einsum("nkj,nj->nk", share, lost)
    incidence[:, :, days > grid.supported_days] = np.nan
    return incidence
