"""The day grid of the piecewise-exponential hazard: exposure and log-time per interval. Nothing is fitted here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint

FloatArray = NDArray[np.float64]

EVENT_AT_ZERO_DAYS = 0.5  # an event on the day of the CT happened after it; zero exposure would have no likelihood
LOG_TIME_REFERENCE_DAYS = 180.0  # log-time effects are zero here, so a main effect is the effect at half a year
MIN_AT_RISK = 5  # beyond the time with this many still under observation the curve is not supported


@dataclass(frozen=True, eq=False)
class TimeGrid:
    """Intervals ``(edges[j], edges[j+1]]`` on which every hazard is constant.

    Attributes:
        edges_days: Shape (J + 1,), rising from 0.
        supported_days: No answer is given beyond it.
    """

    edges_days: FloatArray
    supported_days: float

    @property
    def num_intervals(self) -> int:
        """J."""
        return len(self.edges_days) - 1

    @property
    def log_time(self) -> FloatArray:
        """Mean of log(t / 180 d) over each interval, exact also for the first. Shape (J,)."""
        start, end = self.edges_days[:-1], self.edges_days[1:]
        start_term = np.where(start > 0, start * np.log(np.maximum(start, 1e-300)), 0.0)
        mean_log = (end * np.log(end) - start_term) / (end - start) - 1.0
        return np.asarray(mean_log - np.log(LOG_TIME_REFERENCE_DAYS))

    def exposure(self, days: FloatArray) -> FloatArray:
        """Days spent in each interval until ``days``. Shape (N,) -> (N, J)."""
        return np.clip(np.asarray(days)[:, None] - self.edges_days[:-1], 0.0, np.diff(self.edges_days))

    def interval_of(self, days: FloatArray) -> NDArray[np.int64]:
        """Index of the interval a time falls into; an edge belongs to the interval that ends there. Shape (N,)."""
        index = np.searchsorted(self.edges_days, days, side="left") - 1
        return np.clip(index, 0, self.num_intervals - 1).astype(np.int64)


def clean_outcomes(
    time_days: FloatArray, cause: NDArray[np.int64], endpoint: Endpoint
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Outcomes as the likelihood wants them: inside the window and the grid, events never at time zero.

    Args:
        time_days: Shape (N,), >= 0.
        cause: Shape (N,), 0 censored.
        endpoint: Gives the window and the end of the grid.

    Returns:
        New times and causes; whatever happens after the window or the grid is censored there.
    """
    end = min(endpoint.grid_days[-1], endpoint.window_days or np.inf)
    late = time_days > end
    times = np.where(late, end, time_days)
    causes = np.where(late, 0, cause)
    return np.where((causes > 0) & (times <= 0), EVENT_AT_ZERO_DAYS, times), causes.astype(np.int64)


def fit_grid(time_days: FloatArray, cause: NDArray[np.int64], endpoint: Endpoint, *, min_events: int) -> TimeGrid:
    """The endpoint's grid, intervals with too few events merged into a neighbour.

    Args:
        time_days: Cleaned times, shape (N,).
        cause: Cleaned causes, shape (N,).
        endpoint: Gives the edges.
        min_events: An interval with fewer events (of any cause) is merged; edges that are no horizon go first.
    """
    last = float(time_days.max())
    edges = [float(edge) for edge in endpoint.grid_days if edge < last] + [last]
    event_times = time_days[cause > 0]
    while len(edges) > 2:
        counts = np.histogram(event_times, bins=edges)[0]
        if counts.min() >= min_events:
            break
        edges.pop(_edge_to_remove(edges, counts, endpoint))
    at_risk_limit = np.sort(time_days)[-min(MIN_AT_RISK, len(time_days))]
    return TimeGrid(np.array(edges), float(min(last, at_risk_limit)))


def _edge_to_remove(edges: list[float], counts: NDArray[np.int64], endpoint: Endpoint) -> int:
    """Index of the edge between the sparsest interval and its sparser neighbour; a horizon only if need be."""
    sparse = int(counts.argmin())
    neighbour_of_edge = {sparse: sparse - 1, sparse + 1: sparse + 1}
    inner = {edge: counts[other] for edge, other in neighbour_of_edge.items() if 0 < edge < len(edges) - 1}
    return min(inner, key=lambda edge: (edges[edge] in endpoint.horizons_days, inner[edge]))
