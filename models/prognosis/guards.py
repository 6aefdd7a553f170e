"""What the head refuses or flags by name before it fits: leaks, impossible values, inputs from after the index CT."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint
from domain.errors import PrognosisDataError
from domain.prognostic_data import PrognosticData

FloatArray = NDArray[np.float64]

POST_BASELINE = re.compile(
    r"(^|_)(ventilat\w*|ecmo|icu|intubat\w*|length_of_stay|los|cause_of_death|death|died|dead|survival|discharge\w*"
    r"|follow_?up\w*|last_seen|outcome|later_\w+|second_line\w*|rescue\w*|autopsy)(_|=|$)"
)
LEAK_MIN_EVENTS = 10  # below it missingness can match the event by chance
INFORMATIVE_Z = 3.0  # of the log rate ratio; many columns are looked at
LEAK_AGREEMENT = 0.98  # share of patients in whom "missing" and "event" (or its opposite) agree


def check_training_data(data: PrognosticData, endpoint: Endpoint) -> tuple[str, ...]:
    """Refuse what cannot be trained on.

    Returns:
        Warnings to be kept with the model.

    Raises:
        PrognosisDataError: Names every problem found.
    """
    if data.time_days is None or data.cause is None:
        raise PrognosisDataError(["time_days and cause are needed for training, and are absent"])
    problems = [*_outcome_problems(data.time_days, data.cause, endpoint), *check_inputs(data)]
    if not problems:
        problems = [*_leaks(data, data.cause > 0)]
    if data.patterns_out_of_fold is False:
        problems.append(
            "pattern_probabilities / embedding: made by a network that was trained on these same patients; "
            "they are too sure of themselves here (calibration slope 0.86). Give out-of-fold ones"
        )
    if problems:
        raise PrognosisDataError(problems)
    return _warnings(data)


def check_inputs(data: PrognosticData) -> list[str]:
    """Problems of inputs alone: infinite values, states that do not exist, columns and days after the index CT."""
    problems = []
    for name in ("covariates", "embedding", "pattern_probabilities", "quantitative"):
        block = getattr(data, name)
        if block is not None and np.isinf(block).any():
            problems.append(f"{name}: {_where_infinite(data, name, block)}; leave a missing value blank (NaN)")
    if data.antibodies is not None and not np.isin(data.antibodies, (-1, 0, 1)).all():
        problems.append("antibodies: states are 1 positive, 0 negative, -1 not tested; other values found")
    shares = data.pattern_probabilities
    if shares is not None:
        known = shares[~np.isnan(shares).any(axis=1)]
        if (known < -1e-6).any() or (np.abs(known.sum(axis=1) - 1) > 1e-3).any():
            problems.append("pattern_probabilities: rows must be probabilities that add up to 1")
    problems += [
        f"{name}: known only after the index CT (post-baseline); it cannot predict what follows it"
        for name in data.covariate_names
        if POST_BASELINE.search(name)
    ]
    if data.covariate_days is not None:
        late: list[bool] = [bool((np.nan_to_num(day, nan=-1.0) > 0).any()) for day in data.covariate_days.T]
        problems += [
            f"{name}: measured after the index CT in at least one patient; time zero is the index CT"
            for name, is_late in zip(data.covariate_names, late, strict=True)
            if is_late
        ]
    return problems


def _where_infinite(data: PrognosticData, name: str, block: FloatArray) -> str:
    columns = np.isinf(block).any(axis=0)
    names = {"covariates": data.covariate_names, "quantitative": data.quantitative_names}.get(name, ())
    named = [names[index] for index in np.flatnonzero(columns)] if names else [f"{int(columns.sum())} column(s)"]
    return f"infinite values in {', '.join(named)}"


def _outcome_problems(time_days: FloatArray, cause: NDArray[np.int64], endpoint: Endpoint) -> list[str]:
    problems = []
    if not np.isfinite(time_days).all():
        problems.append(f"time_days: {int((~np.isfinite(time_days)).sum())} patient(s) without a finite time")
    elif (time_days < 0).any():
        problems.append(f"time_days: {int((time_days < 0).sum())} negative time(s); time zero is the index CT")
    if (cause < 0).any() or (cause > len(endpoint.causes)).any():
        problems.append(f"cause: values must be 0..{len(endpoint.causes)} for endpoint {endpoint.name!r}")
    elif not (cause > 0).any():
        problems.append("cause: nobody had an event, so nothing can be learnt about risk")
    return problems


def _leaks(data: PrognosticData, has_event: NDArray[np.bool_]) -> list[str]:
    """Columns that are missing exactly when the event happened (or did not): filled in after the outcome."""
    columns: list[tuple[str, NDArray[np.bool_]]] = []
    if data.covariates is not None:
        columns += [(n, np.isnan(data.covariates[:, i])) for i, n in enumerate(data.covariate_names)]
    if data.antibodies is not None:
        columns += [(f"ab_{n}", data.antibodies[:, i] < 0) for i, n in enumerate(data.antibody_keys)]
    if min(int(has_event.sum()), int((~has_event).sum())) < LEAK_MIN_EVENTS:
        return []
    leaks = []
    for name, missing in columns:
        if not missing.any() or missing.all():
            continue
        sensitivity, specificity = missing[has_event].mean(), (~missing[~has_event]).mean()
        agreement = min(sensitivity, specificity)
        agreement = max(agreement, min(1 - sensitivity, 1 - specificity))
        if agreement >= LEAK_AGREEMENT:
            leaks.append(f"{name}: whether it is missing tells the event in {agreement:.0%} of patients (outcome leak)")
    return leaks


def _warnings(data: PrognosticData) -> tuple[str, ...]:
    warnings = []
    if data.patterns_out_of_fold is None and data.pattern_probabilities is not None:
        warnings.append("it was not declared whether pattern probabilities were out-of-fold")
    if data.antibodies is not None and data.antibodies.shape[1]:
        untested = np.asarray((data.antibodies < 0).all(axis=1))
        if ratio := _informative(untested, data):
            warnings.append(
                f"who was tested for antibodies is related to the outcome (event rate of the untested x {ratio:.1f}): "
                "where another testing policy holds, use untested_mode: marginal"
            )
    for index, name in enumerate(data.covariate_names):
        if data.covariates is not None and (ratio := _informative(np.isnan(data.covariates[:, index]), data)):
            warnings.append(
                f"{name}: patients without it have {ratio:.1f} x the event rate; missing is informative here"
            )
    return tuple(warnings)


def _informative(missing: NDArray[np.bool_], data: PrognosticData) -> float | None:
    """Ratio of event rates, missing against present, where it is beyond chance; else None."""
    assert data.time_days is not None
    assert data.cause is not None
    has_event = data.cause > 0
    events = np.array([(has_event & missing).sum(), (has_event & ~missing).sum()], dtype=np.float64)
    if events.min() < LEAK_MIN_EVENTS:
        return None
    days = np.array([data.time_days[missing].sum(), data.time_days[~missing].sum()])
    rates = events / np.maximum(days, 1.0)
    log_ratio = float(np.log(rates[0] / rates[1]))
    return float(np.exp(log_ratio)) if abs(log_ratio) > INFORMATIVE_Z * np.sqrt((1 / events).sum()) else None
