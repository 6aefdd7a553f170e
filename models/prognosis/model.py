"""The prognostic head: fit on a cohort, answer for patients with whatever inputs they have. Needs no image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint, load_endpoint
from domain.errors import ArtefactError, PrognosisDataError
from domain.prognostic_data import PrognosticData
from domain.records import Contribution, PrognosisPrediction, WhatIf
from domain.settings import PrognosisSettings
from models.prognosis import curves, explanation
from models.prognosis.cohort_fit import fit_state
from models.prognosis.conformal import ConformalBands, fit_conformal, stratum_names
from models.prognosis.guards import check_inputs, check_training_data
from models.prognosis.plain_json import decode, encode
from models.prognosis.recalibration import CauseRecalibration, Method, recalibrate
from models.prognosis.state import ModelState
from models.prognosis.time_grid import clean_outcomes

FloatArray = NDArray[np.float64]

FORMAT_VERSION = 1
CHUNK_PATIENTS = 500  # answered on each other's days at once
CHUNK_HAZARDS = 4_000_000  # hazards in memory while a band is made: replicates x patients x causes x intervals


@dataclass(frozen=True, eq=False)
class PrognosticModel:
    """A fitted prognostic head for one endpoint.

    Attributes:
        endpoint: The question it answers.
        settings: How it was fitted.
        state: What was learnt.
        conformal: Limits of prediction intervals for the event time; None where they were not calibrated.
    """

    endpoint: Endpoint
    settings: PrognosisSettings
    state: ModelState
    conformal: ConformalBands | None = None

    @classmethod
    def fit(
        cls,
        data: PrognosticData,
        settings: PrognosisSettings | None = None,
        endpoint: Endpoint | None = None,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> PrognosticModel:
        """Fit on a cohort with outcomes.

        Args:
            data: Inputs, ``time_days`` and ``cause``. Patients without a finite time are an error.
            settings: Defaults where None.
            endpoint: ``course`` where None.
            progress: Called with a line of text at each stage.

        Raises:
            PrognosisDataError: The data leaks the outcome, holds impossible values, or has no event.
        """
        chosen = settings or PrognosisSettings()
        question = endpoint or load_endpoint("course")
        return cls(question, chosen, fit_state(data, chosen, question, progress=progress))

    def survival(self, data: PrognosticData, days: Sequence[float] | FloatArray) -> FloatArray:
        """Probability of no event until each day. Shape (N, len(days)); NaN beyond the supported time."""
        when = _checked_days(days)
        return self._answer(data, lambda log_hazard: curves.survival(log_hazard, self.state.grid, when))

    def cumulative_incidence(self, data: PrognosticData, days: Sequence[float] | FloatArray) -> dict[str, FloatArray]:
        """Probability of a first event of each cause until each day: cause -> (N, len(days)).

        All causes and ``survival`` add up to 1; NaN beyond the supported time.
        """
        when = _checked_days(days)
        incidence = self._answer(
            data, lambda log_hazard: curves.cumulative_incidence(log_hazard, self.state.grid, when)
        )
        return {key: incidence[:, index] for index, key in enumerate(self.endpoint.cause_keys)}

    def interval(
        self, data: PrognosticData, days: Sequence[float] | FloatArray, level: float | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Bootstrap band of survival: lower and upper, each (N, len(days)). All NaN if fitted without bootstrap.

        The level is nominal. Measured coverage is below it: ``docs/benchmarks/prognosis.md``.
        """
        when = _checked_days(days)
        tail = (1.0 - (level or self.settings.band_level)) / 2.0
        low, high = (np.full((len(data), len(when)), np.nan) for _ in range(2))
        supported = np.flatnonzero(when <= self.state.grid.supported_days)
        if not len(self.state.replicates) or not len(supported):
            return low, high
        chunk = max(1, CHUNK_HAZARDS // self.state.replicates.baseline.size)
        for start in range(0, len(data), chunk):
            rows = np.arange(start, min(start + chunk, len(data)))
            draws = self._replicate_survival(data.take(rows), when[supported])
            low[np.ix_(rows, supported)], high[np.ix_(rows, supported)] = np.quantile(draws, [tail, 1 - tail], axis=0)
        return low, high

    def _answer(self, data: PrognosticData, answer: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """A probability for each patient, averaged over the states of untested antibodies in ``marginal`` mode."""
        total: FloatArray | None = None
        for design in self.state.designs(data, self.settings.untested_mode):
            part = answer(self.state.log_hazard(design, self.state.hazards))
            part = part * design.weight.reshape(-1, *[1] * (part.ndim - 1))
            total = part if total is None else total + part
        assert total is not None  # there is always one design
        return total

    def _replicate_survival(self, data: PrognosticData, days: FloatArray) -> FloatArray:
        """Survival under each replicate. Shape (B, N, T)."""
        total = np.zeros((len(self.state.replicates), len(data), len(days)))
        for design in self.state.designs(data, self.settings.untested_mode):
            log_hazard = self.state.log_hazard(design, self.state.replicates)  # (B, N, K, J)
            flat = log_hazard.reshape(-1, *log_hazard.shape[2:])
            total += curves.survival(flat, self.state.grid, days).reshape(total.shape) * design.weight[:, None]
        return total

    def log_hazard(self, data: PrognosticData) -> FloatArray:
        """Log hazard per day, cause and interval, untested antibodies taken as such. Shape (N, K, J)."""
        return self.state.log_hazard(self.state.design(data), self.state.hazards)

    def what_if(self, data: PrognosticData, antibody: str, status: str, days: Sequence[float] | None = None) -> WhatIf:
        """One patient's answer with one antibody's state changed: a model contrast, not a treatment effect."""
        return explanation.what_if(self, data, antibody, status, days)

    def contributions(self, data: PrognosticData, days: Sequence[float] | None = None) -> tuple[Contribution, ...]:
        """One patient's log hazard against the training mean, split exactly by block of inputs."""
        return explanation.contributions(self, data, days)

    def explain(self, data: PrognosticData) -> PrognosisPrediction:
        """Everything about one patient, as it is written to files.

        Raises:
            PrognosisDataError: An impossible value, or not exactly one patient.
        """
        if len(data) != 1:
            raise PrognosisDataError([f"explain takes one patient, found {len(data)}"])
        if problems := check_inputs(data):
            raise PrognosisDataError(problems)
        return explanation.explain(self, data)

    def risk_at_own_time(self, data: PrognosticData) -> FloatArray:
        """Predicted risk of any event by each patient's own ``time_days``, or by the supported time. Shape (N,)."""
        if data.time_days is None:
            raise ValueError("a patient's own time is needed")
        times = np.minimum(data.time_days, min(self.endpoint.window_days or np.inf, self.state.grid.supported_days))
        days, place = np.unique(times, return_inverse=True)
        risk = np.empty(len(data))
        for start in range(0, len(data), CHUNK_PATIENTS):
            rows = np.arange(start, min(start + CHUNK_PATIENTS, len(data)))
            some, own = np.unique(place[rows], return_inverse=True)
            risk[rows] = 1.0 - self.survival(data.take(rows), days[some])[np.arange(len(rows)), own]
        return risk

    def with_conformal(
        self, data: PrognosticData, level: float | None = None, *, risk: FloatArray | None = None
    ) -> PrognosticModel:
        """The same head with prediction intervals for the event time.

        Args:
            data: Calibration patients with outcomes: patients the head never saw, or with ``risk`` its own.
            level: Nominal level; that of the bands where None.
            risk: ``risk_at_own_time`` of out-of-fold heads, shape (N,), where ``data`` is the training cohort.

        Raises:
            PrognosisDataError: The guards refuse the cohort.
        """
        check_training_data(data, self.endpoint)
        assert data.time_days is not None
        assert data.cause is not None
        times, cause = clean_outcomes(data.time_days, data.cause, self.endpoint)
        scores = self.risk_at_own_time(data) if risk is None else risk
        names = stratum_names(self.state.space, data)
        supported = self.state.grid.supported_days
        has_event = (cause > 0) & (times <= supported)  # nothing is claimed of later events: censored there
        bands = fit_conformal(scores, np.minimum(times, supported), has_event, names, level or self.settings.band_level)
        return replace(self, conformal=bands)

    def notes_for_use(self, data: PrognosticData) -> tuple[str, ...]:
        """Warnings about a whole cohort to be predicted, a shifted testing rate for instance."""
        return explanation.notes_for_use(self.state, data)

    def recalibrated(self, data: PrognosticData, method: Method = "intercept") -> PrognosticModel:
        """The same head with its level adjusted to a new site or era; ``recalibration_report`` has before and after.

        Args:
            data: Patients of the new site, with outcomes.
            method: ``intercept``, ``slope`` or ``baseline``.

        Raises:
            PrognosisDataError: Guards refuse the cohort, or it has too few events.
        """
        state, _ = recalibrate(self.state, data, self.endpoint, method)
        summary = self.state.summary
        note = f"recalibrated ({method}) on {len(data)} patients; bands do not include the recalibration's own error"
        moved = replace(state, summary=replace(summary, notes=(*summary.notes, note)))
        return replace(self, state=moved, conformal=None)  # limits hold for the risks they were calibrated on

    def recalibration_report(
        self, data: PrognosticData, method: Method = "intercept"
    ) -> tuple[CauseRecalibration, ...]:
        """Observed and expected events before and after ``recalibrated``, per cause."""
        return recalibrate(self.state, data, self.endpoint, method)[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, nothing lost."""
        return {
            "format_version": FORMAT_VERSION,
            "endpoint": self.endpoint.model_dump(mode="json"),
            "settings": self.settings.model_dump(mode="json"),
            "state": encode(self.state),
            "conformal": encode(self.conformal),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> PrognosticModel:
        """The model of ``to_dict``.

        Raises:
            ArtefactError: Written by another format version.
        """
        if plain.get("format_version") != FORMAT_VERSION:
            found = plain.get("format_version")
            raise ArtefactError(f"the prognostic head has format {found}; this version reads {FORMAT_VERSION}")
        return cls(
            Endpoint.model_validate(plain["endpoint"], strict=False),
            PrognosisSettings.model_validate(plain["settings"], strict=False),
            decode(ModelState, plain["state"]),
            decode(ConformalBands, plain["conformal"]) if plain.get("conformal") else None,
        )


def _checked_days(days: Sequence[float] | FloatArray) -> FloatArray:
    """Days as an array.

    Raises:
        ValueError: A negative or non-finite day, or not one dimension.
    """
    when = np.asarray(days, dtype=np.float64)
    if when.ndim != 1 or not np.isfinite(when).all() or (when < 0).any():
        raise ValueError(f"days must be a list of finite numbers >= 0, found {days!r}")
    return when
