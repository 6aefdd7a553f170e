"""What a cohort's size allows, said before anything is fitted.

Source: Riley 2019 Stat Med 38:1276 (minimum sample size, time-to-event); Riley 2020 BMJ 368:m441 (default R-squared).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from domain.endpoints import Endpoint, load_endpoint
from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis.feature_space import fit_feature_space
from models.prognosis.time_grid import clean_outcomes

ASSUMED_NAGELKERKE = 0.15  # Riley's advice where no earlier model exists
TARGET_SHRINKAGE = 0.9


@dataclass(frozen=True)
class CauseSampleSize:
    """What there is for one cause.

    Attributes:
        cause: Key of the cause.
        num_events: Events.
        events_per_parameter: Events per candidate coefficient.
        expected_shrinkage: Expected calibration slope of an unpenalised fit; the ridge makes up for the rest.
        num_needed: Patients for an expected shrinkage of 0.9 with as many candidates.
    """

    cause: str
    num_events: int
    events_per_parameter: float
    expected_shrinkage: float
    num_needed: int | None


@dataclass(frozen=True)
class SampleSizeReport:
    """Patients, candidate coefficients, and the figures of each cause."""

    num_patients: int
    num_parameters: int
    causes: tuple[CauseSampleSize, ...]

    def lines(self) -> tuple[str, ...]:
        """The report in words."""
        head = f"{self.num_patients} patients, {self.num_parameters} candidate coefficients per cause"
        return (head, *(_line(cause) for cause in self.causes))


def _line(cause: CauseSampleSize) -> str:
    needed = "no number of patients" if cause.num_needed is None else f"{cause.num_needed} patients"
    return (
        f"{cause.cause}: {cause.num_events} events, {cause.events_per_parameter:.1f} per coefficient; expected "
        f"shrinkage without penalties {cause.expected_shrinkage:.2f}; {needed} for 0.9 "
        f"(R-squared {ASSUMED_NAGELKERKE} assumed)"
    )


def sample_size_report(
    data: PrognosticData, settings: PrognosisSettings | None = None, endpoint: Endpoint | None = None
) -> SampleSizeReport:
    """Events per coefficient and expected shrinkage for a cohort, before a fit.

    Raises:
        ValueError: The cohort has no outcomes.
    """
    question = endpoint or load_endpoint("course")
    if data.time_days is None or data.cause is None:
        raise ValueError("a sample-size report needs time_days and cause")
    _, cause = clean_outcomes(data.time_days, data.cause, question)
    space = fit_feature_space(data, settings or PrognosisSettings())
    num_parameters = len(space.static_columns) + len(space.temporal_columns)
    causes = tuple(
        _of_cause(key, int((cause == index).sum()), len(data), num_parameters)
        for index, key in enumerate(question.cause_keys, start=1)
    )
    return SampleSizeReport(len(data), num_parameters, causes)


def _of_cause(key: str, num_events: int, num_patients: int, num_parameters: int) -> CauseSampleSize:
    parameters = max(num_parameters, 1)
    share = num_events / num_patients
    if not 0 < share < 1:
        return CauseSampleSize(key, num_events, num_events / parameters, 0.0, None)
    explained = cox_snell(share)
    needed = int(np.ceil(_patients_for(TARGET_SHRINKAGE, parameters, explained)))
    return CauseSampleSize(
        key, num_events, num_events / parameters, _shrinkage(num_patients, parameters, explained), needed
    )


def cox_snell(event_share: float) -> float:
    """Cox-Snell R-squared that a Nagelkerke R-squared of 0.15 means at this share of events."""
    log_likelihood = event_share * np.log(event_share) + (1 - event_share) * np.log1p(-event_share)
    return float(ASSUMED_NAGELKERKE * -np.expm1(2 * log_likelihood))


def _patients_for(shrinkage: float, num_parameters: int, explained: float) -> float:
    """``n = p / ((S - 1) ln(1 - R2 / S))``, Riley's criterion 1."""
    return float(num_parameters / ((shrinkage - 1.0) * np.log1p(-explained / shrinkage)))


def _shrinkage(num_patients: int, num_parameters: int, explained: float) -> float:
    """The same criterion solved for S; 0 where even the least shrinkage asks for more patients."""
    low, high = explained + 1e-9, 1.0 - 1e-9
    grid = np.linspace(low, high, 2001)
    needed = np.array([_patients_for(float(value), num_parameters, explained) for value in grid])
    lowest = int(needed.argmin())
    if needed[lowest] > num_patients:
        return 0.0
    return float(brentq(lambda s: _patients_for(s, num_parameters, explained) - num_patients, grid[lowest], high))
