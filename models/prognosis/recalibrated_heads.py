"""All heads of a model moved to a new site or era, with a table of before and after. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domain.cohort import with_outcomes
from domain.errors import PrognosisDataError
from domain.prognostic_data import PrognosticData
from domain.records import Case
from models.prognosis.cross_fitting import known_outcomes
from models.prognosis.model import PrognosticModel
from models.prognosis.penalties import assign_folds
from models.prognosis.recalibration import Method, observed_and_expected


@dataclass(frozen=True)
class BeforeAfter:
    """One cause of one endpoint in the new cohort.

    Attributes:
        endpoint: Name of the endpoint.
        cause: Key of the cause.
        num_patients: With an outcome.
        num_events: Observed events.
        expected_before: Events the parent expected over the observed follow-up.
        expected_after: The same of recalibrations that did not see the patient; NaN where too few events are left.
        loss_before: Negative log-likelihood per patient, all causes; lower is better.
        loss_after: The same, held out.
        shift: Mean shift of the log hazard in the model that is kept.
        slope: Factor on the spread of the log hazard in the model that is kept.
        note: Why nothing was changed, if so.
    """

    endpoint: str
    cause: str
    num_patients: int
    num_events: int
    expected_before: float
    expected_after: float
    loss_before: float
    loss_after: float
    shift: float
    slope: float
    note: str

    def line(self) -> str:
        """In words."""
        expected = f"{self.expected_before:.1f} expected before, {self.expected_after:.1f} after (held out)"
        note = f"; {self.note}" if self.note else ""
        return f"{self.endpoint}, {self.cause}: {self.num_events} events; {expected}{note}"


def recalibrated_heads(
    heads: Mapping[str, PrognosticModel],
    cases: Sequence[Case],
    data: PrognosticData,
    method: Method,
    *,
    num_folds: int,
    seed: int,
) -> tuple[dict[str, PrognosticModel], tuple[BeforeAfter, ...]]:
    """Recalibrate every endpoint that has events enough; the others stay as they are.

    Args:
        heads: Endpoint name -> head.
        cases: N of them, with outcomes.
        data: Their inputs.
        method: ``intercept``, ``slope`` or ``baseline``.
        num_folds: Of the held-out figures.
        seed: Of the folds.

    Returns:
        The endpoints that changed, and the table of all.

    Raises:
        PrognosisDataError: No endpoint has events enough, or the guards refuse the cohort.
    """
    changed: dict[str, PrognosticModel] = {}
    table: list[BeforeAfter] = []
    problems: list[str] = []
    for name, head in heads.items():
        known = known_outcomes(cases, head.endpoint)
        if not known.size:
            problems.append(f"{name}: no case has an outcome")
            continue
        cohort = with_outcomes(data, cases, head.endpoint).take(known)
        try:
            changed[name] = head.recalibrated(cohort, method)
        except PrognosisDataError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
            continue
        table += _rows(head, cohort, method, num_folds, seed)
    if not changed:
        raise PrognosisDataError(problems or ["the model has no prognostic head"])
    return changed, tuple(table)


def _rows(
    head: PrognosticModel, cohort: PrognosticData, method: Method, num_folds: int, seed: int
) -> list[BeforeAfter]:
    observed, before, loss_before = observed_and_expected(head.state, cohort, head.endpoint)
    after, loss_after = _held_out(head, cohort, method, num_folds, seed)
    return [
        BeforeAfter(
            endpoint=head.endpoint.name,
            cause=item.cause,
            num_patients=len(cohort),
            num_events=int(observed[k]),
            expected_before=round(float(before[k]), 2),
            expected_after=round(float(after[k]), 2),
            loss_before=round(loss_before / len(cohort), 4),
            loss_after=round(loss_after / len(cohort), 4),
            shift=round(item.shift, 4),
            slope=round(item.slope, 4),
            note=item.note,
        )
        for k, item in enumerate(head.recalibration_report(cohort, method))
    ]


def _held_out(
    head: PrognosticModel, cohort: PrognosticData, method: Method, num_folds: int, seed: int
) -> tuple[np.ndarray, float]:
    """Expected events per cause and loss of recalibrations that did not see the patient; NaN if a fold has too few."""
    assert cohort.cause is not None
    patients = np.unique(np.array(cohort.patient_ids or cohort.case_ids), return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(cohort.cause, patients, num_folds, seed)
    expected, loss = np.zeros(len(head.endpoint.causes)), 0.0
    for fold in range(num_folds):
        if not (folds == fold).any():
            continue
        try:
            moved = head.recalibrated(cohort.take(folds != fold), method)
        except PrognosisDataError:
            return np.full_like(expected, np.nan), np.nan
        _, part, part_loss = observed_and_expected(moved.state, cohort.take(folds == fold), head.endpoint)
        expected, loss = expected + part, loss + part_loss
    return expected, loss
