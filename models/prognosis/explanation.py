"""One patient's answer in full: curves, bands, contributions, what-if contrasts, notes. Fits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domain.antibodies import STATUS_CODES, AntibodyStatus
from domain.prognostic_data import PrognosticData
from domain.records import Contribution, EventTimeInterval, HorizonRisk, PrognosisPrediction, WhatIf
from models.prognosis.antibody_coding import NEGATIVE, NOT_TESTED, POSITIVE, AntibodyCoding
from models.prognosis.antibody_posterior import NONE_CLASS, UNTESTED_SHARE, scenarios
from models.prognosis.clinical_coding import base_key
from models.prognosis.conformal import stratum_names
from models.prognosis.measured_coverage import measured_coverage
from models.prognosis.state import ModelState

if TYPE_CHECKING:
    from models.prognosis.model import PrognosticModel

FloatArray = NDArray[np.float64]

CURVE_POINTS = 49
EVENT_TIME_POINTS = 731
CURVE_POWER = 1.5  # more points early, where the course of MDA5 is decided
CONTRIBUTION_DAYS = (90.0, 365.0, 1826.0)
PLAUSIBLE_PROBABILITY = 0.05  # antibody classes below it are left out of the range over untested states
MAX_WHAT_IF = 6
RESIDUAL_BLOCK = "neural_correction"
RATE_SHIFT = 0.2  # difference in the share of tested patients from which a cohort's testing policy counts as another
MIN_COHORT_FOR_RATE = 20


def explain(model: PrognosticModel, data: PrognosticData) -> PrognosisPrediction:
    """See ``PrognosticModel.explain``; ``data`` has one row."""
    state, endpoint = model.state, model.endpoint
    supported = state.grid.supported_days
    fine = np.unique(np.round(np.linspace(0, 1, CURVE_POINTS) ** CURVE_POWER * supported, 1))
    horizons = _risks(model, data, [float(day) for day in endpoint.horizons_days], with_band=True)
    at_risk_horizon = next(risk for risk in horizons if risk.days == endpoint.risk_horizon_days)
    used, missing = inputs(state, data)
    has_band = len(state.replicates) > 0
    coverage = measured_coverage(state.summary.num_patients, model.settings.band_level) if has_band else None
    return PrognosisPrediction(
        endpoint=endpoint.name,
        survival_means=endpoint.survival_means,
        curve=_risks(model, data, fine.tolist(), with_band=True),
        horizons=horizons,
        band_level=model.settings.band_level if len(state.replicates) else None,
        band_coverage=coverage,
        risk_group=None if at_risk_horizon.survival is None else endpoint.risk_group(1 - at_risk_horizon.survival),
        mode=mode_of(state, data),
        inputs_used=used,
        inputs_missing=missing,
        contributions=contributions(model, data),
        what_if=_standard_what_ifs(model, data),
        plausible_range=plausible_range(model, data),
        event_time=event_time(model, data),
        notes=notes_for_patient(model, data),
    )


def mode_of(state: ModelState, data: PrognosticData) -> str:
    """``full``, ``image_only``, ``tables_only`` or ``baseline_only``."""
    has_image, has_tables = bool(state.space.has_image(data)[0]), bool(state.space.has_tables(data)[0])
    if has_image and has_tables:
        return "full"
    return "image_only" if has_image else "tables_only" if has_tables else "baseline_only"


def inputs(state: ModelState, data: PrognosticData) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs the model knows that this patient has, and has not."""
    space = state.space
    has: dict[str, bool] = {}
    if space.image.names:
        has["image"] = bool(space.has_image(data)[0])
    states = space.antibody.states(data)[0]
    has |= {f"ab_{key}": bool(s != NOT_TESTED) for key, s in zip(space.antibody.keys, states, strict=True)}
    values = space.clinical.raw(data)[0]
    for name, value in zip(space.clinical.names, values, strict=True):
        has[base_key(name)] = not np.isnan(value)
    return tuple(n for n, there in has.items() if there), tuple(n for n, there in has.items() if not there)


def _risks(
    model: PrognosticModel, data: PrognosticData, days: list[float], *, with_band: bool
) -> tuple[HorizonRisk, ...]:
    survival = model.survival(data, days)[0]
    incidence = model.cumulative_incidence(data, days)
    low, high = model.interval(data, days) if with_band else (np.full((1, len(days)), np.nan),) * 2
    return tuple(
        HorizonRisk(
            days=day,
            survival=_number(survival[i]),
            survival_lo=_number(low[0, i]),
            survival_hi=_number(high[0, i]),
            cumulative_incidence={cause: _number(values[0, i]) for cause, values in incidence.items()},
        )
        for i, day in enumerate(days)
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def contributions(
    model: PrognosticModel, data: PrognosticData, days: Sequence[float] | None = None
) -> tuple[Contribution, ...]:
    """Exact split of log hazard minus that of the training mean, by block, cause and time.

    For every cause and day the blocks add up to ``log h(patient) - log h(mean patient)``. A patient of whom
    nothing is known gets none.
    """
    state = model.state
    design = state.design(data)
    if design.is_empty[0]:
        return ()
    static = (design.static[0] - state.mean_static) * state.hazards.static  # (K, P)
    temporal = (design.temporal[0] - state.mean_temporal) * state.hazards.temporal  # (K, Q)
    slope = state.recalibration_slope[:, None]
    columns = (*state.space.static_columns, *state.space.temporal_columns)
    blocks = tuple(dict.fromkeys(column.block for column in columns))
    residual = None if state.residual is None else state.residual.log_hazard(design.static)[0]
    member = np.array([[column.block == block for column in columns] for block in blocks], dtype=float)
    wanted = [day for day in days or CONTRIBUTION_DAYS if day <= state.grid.supported_days]
    result = []
    for day in wanted:
        log_time = state.grid.log_time[state.grid.interval_of(np.array([day]))[0]]
        parts = slope * np.column_stack([static, temporal * log_time])  # (K, P + Q)
        shares = parts @ member.T  # (K, blocks)
        result += [
            Contribution(block=block, days=float(day), log_hazard=float(shares[k, i]), cause=cause)
            for k, cause in enumerate(model.endpoint.cause_keys)
            for i, block in enumerate(blocks)
        ]
        if residual is not None:
            result += [
                Contribution(block=RESIDUAL_BLOCK, days=float(day), log_hazard=float(value), cause=cause)
                for cause, value in zip(model.endpoint.cause_keys, state.recalibration_slope * residual, strict=True)
            ]
    return tuple(result)


def what_if(
    model: PrognosticModel, data: PrognosticData, antibody: str, status: str, days: Sequence[float] | None = None
) -> WhatIf:
    """See ``PrognosticModel.what_if``."""
    coding = model.state.space.antibody
    if antibody not in coding.keys:
        return WhatIf(
            antibody=antibody,
            status=status,
            num_training_patients=0,
            refused=f"no training patient was tested for {antibody}",
        )
    column = coding.keys.index(antibody)
    code = STATUS_CODES[AntibodyStatus(status)]
    counts = {POSITIVE: coding.num_positive, NEGATIVE: coding.num_negative, NOT_TESTED: coding.num_not_tested}
    count = int(counts[code][column])
    states = coding.states(data).copy()
    states[:, column] = code
    grades = coding.grades(data)
    grades[:, column] = np.nan
    refused = _never_seen(coding, states[0], column) if code == POSITIVE else ""
    if not count:
        refused = refused or f"no training patient had {antibody} {status.replace('_', ' ')}"
    if refused:
        return WhatIf(antibody=antibody, status=status, num_training_patients=count, refused=refused)
    changed = data.replaced(
        antibodies=states, antibody_keys=coding.keys, antibody_groups=coding.key_groups, antibody_grades=grades
    )
    when = [float(day) for day in days or model.endpoint.horizons_days]
    return WhatIf(
        antibody=antibody,
        status=status,
        num_training_patients=count,
        horizons=_risks(model, changed, when, with_band=True),
    )


def _never_seen(coding: AntibodyCoding, states: NDArray[np.int8], column: int) -> str:
    """Names a positive antibody that no training patient had together with the one in question."""
    for other in np.flatnonzero(states == POSITIVE):
        if other != column and not coding.num_both_positive[column, other]:
            return f"{coding.keys[column]} and {coding.keys[other]} were never positive together in training"
    return ""


def _standard_what_ifs(model: PrognosticModel, data: PrognosticData) -> tuple[WhatIf, ...]:
    """The contrasts shown by default: the most frequent antibodies of training, in each state they are not in."""
    coding = model.state.space.antibody
    states = coding.states(data)[0]
    often = [int(i) for i in np.argsort(-coding.num_positive, kind="stable") if coding.num_positive[i]]
    result: list[WhatIf] = []
    for column in often:
        other = AntibodyStatus.NEGATIVE if states[column] == POSITIVE else AntibodyStatus.POSITIVE
        result.append(what_if(model, data, coding.keys[column], other.value))
    return tuple(result[:MAX_WHAT_IF])


def plausible_range(model: PrognosticModel, data: PrognosticData) -> tuple[HorizonRisk, ...]:
    """Lowest and highest survival over the plausible classes of untested antibodies; empty if all were tested."""
    state = model.state
    _, unknown = state.space.antibody.group_states(data)
    if state.space.posterior is None:
        return ()
    groups = [state.space.antibody.groups.index(name) for name in state.space.posterior.classes if name != NONE_CLASS]
    if not (unknown[0, groups] > UNTESTED_SHARE).any():
        return ()
    options = scenarios(state.space.posterior, state.space, data)
    plausible = [scenario for scenario in options if scenario.weight[0] >= PLAUSIBLE_PROBABILITY]
    days = [float(day) for day in model.endpoint.horizons_days]
    answers = np.array([model.survival(scenario.data, days)[0] for scenario in plausible])
    middle = model.survival(data, days)[0]
    return tuple(
        HorizonRisk(
            days=day,
            survival=_number(middle[i]),
            survival_lo=_number(answers[:, i].min()),
            survival_hi=_number(answers[:, i].max()),
        )
        for i, day in enumerate(days)
    )


def event_time(model: PrognosticModel, data: PrognosticData) -> EventTimeInterval | None:
    """Days between which the event is predicted to fall; days are rounded outwards on a grid of a few days."""
    if model.conformal is None:
        return None
    stratum = model.conformal.for_stratum(stratum_names(model.state.space, data)[0])
    days = np.linspace(0.0, model.state.grid.supported_days, EVENT_TIME_POINTS)
    risk = 1.0 - model.survival(data, days)[0]
    lower = None if stratum.lower_risk is None else float(days[(risk < stratum.lower_risk).sum() - 1])
    beyond = stratum.upper_risk is None or risk[-1] < stratum.upper_risk
    return EventTimeInterval(
        level=model.conformal.level,
        measured_coverage=stratum.measured,
        stratum=stratum.name,
        from_days=None if lower is None else float(np.floor(max(lower, 0.0))),
        until_days=None if beyond else float(np.ceil(days[(risk < stratum.upper_risk).sum()])),
        reason=stratum.reason,
    )


def notes_for_patient(model: PrognosticModel, data: PrognosticData) -> tuple[str, ...]:
    """What must be said beside this answer."""
    state, notes = model.state, list(model.state.summary.notes)
    coding, horizons = state.space.antibody, model.endpoint.horizons_days
    late = [str(day) for day in horizons if day > state.grid.supported_days]
    if late:
        days = ", ".join(late)
        notes.append(f"not supported beyond day {state.grid.supported_days:.0f} (training follow-up): {days}")
    mode = mode_of(state, data)
    if mode == "baseline_only":
        notes.append("nothing is known of this patient: the training cohort's average curve is given")
    if mode == "image_only":
        notes.append("made without antibodies and without clinical data")
    states = coding.states(data)[0]
    for key, group, s in zip(coding.keys, coding.key_groups, states, strict=True):
        seen = coding.num_positive[coding.keys.index(key)]
        if s == POSITIVE and not seen:
            effect = (
                "the effect of its group is used"
                if coding.num_positive[coding.members(group)].any()
                else ("it is treated as not tested")
            )
            notes.append(f"anti-{key} was never positive in training: {effect}")
    if int(coding.num_specific_positive(data)[0]) > 1:
        notes.append(
            "more than one myositis-specific antibody is positive (true in about 0.2 %): one is probably false"
        )
    if mode in {"full", "tables_only"} and coding.keys and not (states != NOT_TESTED).any():
        notes.append("no antibody was tested: see the range over plausible antibody classes")
    return tuple(dict.fromkeys(notes))


def notes_for_use(state: ModelState, data: PrognosticData) -> tuple[str, ...]:
    """See ``PrognosticModel.notes_for_use``."""
    tested = (state.space.antibody.states(data) != NOT_TESTED).any(axis=1)
    shift = float(tested.mean()) - state.summary.panel_tested_share if len(tested) else 0.0
    if len(data) < MIN_COHORT_FOR_RATE or abs(shift) < RATE_SHIFT:
        return ()
    return (
        f"antibodies were tested in {tested.mean():.0%} of these patients and in "
        f"{state.summary.panel_tested_share:.0%} of the training cohort: who is tested may mean something else here; "
        "consider untested_mode: marginal",
    )
