"""From a cohort to a fitted state: guards, codings, grid, penalties, fit, bootstrap. Row order is irrelevant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from domain.endpoints import Endpoint
from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis.antibody_coding import NOT_TESTED
from models.prognosis.bootstrap import MIN_CENTRES_TO_RESAMPLE, bootstrap
from models.prognosis.feature_space import Family, FeatureSpace, fit_feature_space
from models.prognosis.fitting import Problem, Target, assemble, fit_targets
from models.prognosis.guards import check_training_data
from models.prognosis.hazards import CauseMethod, CausePlan, plan_causes
from models.prognosis.likelihood import Rows
from models.prognosis.masked_copies import training_rows
from models.prognosis.penalties import Choice, Mixture, PenaltySearch, Strengths, assign_folds
from models.prognosis.residual import fit_residual, trial_notes
from models.prognosis.state import ModelState, TrainingSummary
from models.prognosis.time_grid import clean_outcomes, fit_grid

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_CENTRES = 2
SEARCH_SALT = 53
SMALL_COHORT, SMALL_COHORT_REPEATS = 300, 4  # one division of few patients into folds decides by luck
EVENTS_FOR_OWN_PENALTIES = 300  # causes with fewer share one choice: held-out likelihoods of a few events are noise
MIN_GROUPS_FOR_SEARCH = 20  # fewer patients than this: the first candidates are used, nothing is searched


def fit_state(
    data: PrognosticData,
    settings: PrognosisSettings,
    endpoint: Endpoint,
    *,
    progress: Callable[[str], None] | None = None,
) -> ModelState:
    """Fit the head; see ``PrognosticModel.fit``."""
    say = progress or (lambda _: None)
    warnings = check_training_data(data, endpoint)
    cohort = _in_canonical_order(data, endpoint)
    times, cause = cohort.time_days, cohort.cause
    assert times is not None  # the guard refused anything else
    assert cause is not None
    space = fit_feature_space(cohort, settings)
    grid = fit_grid(times, cause, endpoint, min_events=settings.min_events_per_interval)
    plan = plan_causes(cause, len(endpoint.causes), settings.min_events_per_cause)
    patients, centres = _group_codes(cohort.patient_ids or cohort.case_ids), _centre_codes(cohort, settings)
    rows = with_centres(training_rows(cohort, space, grid, settings), centres)
    num_centres = 0 if centres is None else int(centres.max()) + 1
    say("choosing penalties by cross-validation")
    mixtures, losses = _choose_strengths(rows, space, num_centres, plan, patients, settings)
    problem = Problem(rows, space.static_columns, num_centres, plan, mixtures, settings)
    say("fitting")
    targets = fit_targets(problem)
    hazards = assemble(problem, tuple(t.parameters for t in targets), targets, np.ones(len(cohort)))
    residual, trials = fit_residual(problem, targets, patients) if settings.try_residual else (None, ())
    say(f"refitting on {settings.num_bootstrap} bootstrap samples")
    clusters = centres if centres is not None and num_centres >= MIN_CENTRES_TO_RESAMPLE else patients
    replicates = bootstrap(problem, targets, clusters, settings.num_bootstrap)
    static, temporal = space.build(cohort)
    num_causes = len(endpoint.causes)
    notes = (*warnings, *_plan_notes(plan, endpoint), *_target_notes(targets))
    notes = (*notes, *trial_notes(trials, tuple(cause.name for cause in endpoint.causes)))
    return ModelState(
        space=space,
        grid=grid,
        plan=plan,
        hazards=hazards,
        replicates=replicates,
        mean_static=static.mean(axis=0),
        mean_temporal=temporal.mean(axis=0),
        recalibration_shift=np.zeros((num_causes, grid.num_intervals)),
        recalibration_slope=np.ones(num_causes),
        residual=residual,
        summary=_summary(cohort, space, targets, mixtures, losses, notes),
    )


def _in_canonical_order(data: PrognosticData, endpoint: Endpoint) -> PrognosticData:
    """Cleaned outcomes, sorted by case: folds and resamples then do not depend on the order of the table."""
    assert data.time_days is not None
    assert data.cause is not None
    times, cause = clean_outcomes(data.time_days, data.cause, endpoint)
    order = sorted(range(len(data)), key=lambda i: (data.case_ids[i], float(times[i]), int(cause[i])))
    return data.replaced(time_days=times, cause=cause).take(np.array(order, dtype=np.int64))


def _group_codes(names: tuple[str, ...]) -> IntArray:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _centre_codes(data: PrognosticData, settings: PrognosisSettings) -> IntArray | None:
    """Code of each patient's centre; None where there is one centre or centres are left out."""
    if data.centres is None or not settings.centre_penalty or len(set(data.centres)) < MIN_CENTRES:
        return None
    return _group_codes(data.centres)


def with_centres(rows: Rows, centres: IntArray | None) -> Rows:
    """Rows with one 0/1 column per centre at the end."""
    if centres is None:
        return rows
    dummies = np.eye(int(centres.max()) + 1)[centres[rows.patient]]
    return replace(rows, static=np.column_stack([rows.static, dummies]))


def _choose_strengths(
    rows: Rows, space: FeatureSpace, num_centres: int, plan: CausePlan, patients: IntArray, settings: PrognosisSettings
) -> tuple[tuple[Mixture, ...], dict[str, float]]:
    """Cross-validate on a part of a large cohort: causes with events enough alone, the others together.

    Causes too rare for effects of their own get the choice of the most frequent one.

    Without any cause to search on, or with too few patients, the strongest ridge and no gates are taken.
    """
    causes = tuple(index + 1 for index in plan.indices(CauseMethod.REGRESSION))
    if not causes or int(patients.max()) + 1 < MIN_GROUPS_FOR_SEARCH:
        main = settings.main_penalty * max(settings.main_penalty_factors)
        strongest = Strengths(main, max(settings.antibody_penalties), None, settings.time_effect_penalty)
        return ((Choice(strongest, 1.0),),) * len(plan.methods), {}
    part, groups = _search_part(rows, patients, settings)
    repeats = SMALL_COHORT_REPEATS if len(groups) < SMALL_COHORT else 1
    cause = part.cause[: len(groups)]
    folds = [assign_folds(cause, groups, settings.num_cv_folds, settings.seed + repeat) for repeat in range(repeats)]
    scale = len(patients) / len(groups)
    search = PenaltySearch(part, space.static_columns, num_centres, np.array(folds), settings, scale)
    few = tuple(cause for cause in causes if plan.num_events[cause - 1] < EVENTS_FOR_OWN_PENALTIES)
    alone = [(cause,) for cause in causes if cause not in few]
    found: dict[int, Mixture] = {}
    losses: dict[str, float] = {}
    for together in [few, *alone] if few else alone:
        mixture, tried = search.mixture(together)
        found |= dict.fromkeys(together, mixture)
        losses |= {f"cause {', '.join(map(str, together))}: {choice}": loss for choice, loss in tried.items()}
    leading = max(causes, key=lambda cause: plan.num_events[cause - 1])
    return tuple(found.get(cause, found[leading]) for cause in range(1, len(plan.methods) + 1)), losses


def _search_part(rows: Rows, patients: IntArray, settings: PrognosisSettings) -> tuple[Rows, IntArray]:
    """Rows and group codes of at most ``max_rows_for_search`` patients."""
    if len(patients) <= settings.max_rows_for_search:
        return rows, patients
    chosen = np.zeros(len(patients), dtype=bool)
    generator = np.random.default_rng([settings.seed, SEARCH_SALT])
    chosen[generator.permutation(len(patients))[: settings.max_rows_for_search]] = True
    position = np.cumsum(chosen) - 1
    part = rows.take(chosen[rows.patient])
    groups = np.unique(patients[chosen], return_inverse=True)[1].astype(np.int64)
    return replace(part, patient=position[part.patient]), groups


def _plan_notes(plan: CausePlan, endpoint: Endpoint) -> list[str]:
    notes = []
    for index, (method, count) in enumerate(zip(plan.methods, plan.num_events, strict=True)):
        name = endpoint.causes[index].name
        if method == CauseMethod.POOLED:
            notes.append(f"{name}: {count} events, too few for effects of its own; pooled with other rare causes")
        elif method == CauseMethod.BASELINE_ONLY:
            notes.append(f"{name}: {count} events, too few for any effect; the same risk is given to everyone")
    return notes


def _target_notes(targets: tuple[Target, ...]) -> list[str]:
    if all(member.fit.converged for target in targets for member in target.members):
        return []
    return ["the fit did not converge; treat its answers as unreliable"]


def _summary(
    data: PrognosticData,
    space: FeatureSpace,
    targets: tuple[Target, ...],
    mixtures: tuple[Mixture, ...],
    losses: dict[str, float],
    notes: tuple[str, ...],
) -> TrainingSummary:
    tested = (space.antibody.states(data) != NOT_TESTED).any(axis=1)
    leading = [mixture[0].strengths for mixture in mixtures]
    has_gates = any(choice.strengths.gate is not None for mixture in mixtures for choice in mixture)
    columns = [c for c in space.static_columns if has_gates or c.family is not Family.GATE]
    return TrainingSummary(
        num_patients=len(data),
        panel_tested_share=float(tested.mean()),
        image_share=float(space.has_image(data).mean()),
        main_penalties=tuple(one.main for one in leading),
        gate_penalties=tuple(one.gate for one in leading),
        centre_sds=tuple(target.centre_sd for target in targets),
        strength_weights=tuple({str(c.strengths): round(c.weight, 4) for c in mixture} for mixture in mixtures),
        search_losses=losses,
        num_parameters=len(columns) + len(space.temporal_columns),
        notes=notes,
    )
