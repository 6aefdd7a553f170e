"""The one call: predictions and cases in, every figure with interval out. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from domain.antibodies import AntibodyVocabulary, load_antibody_vocabulary
from domain.covariates import CovariateVocabulary, load_covariate_vocabulary
from domain.endpoints import Endpoint
from domain.evaluation_result import EVERYONE, Caution, CohortSummary, Comparator, Difference, EvaluationResult, Metric
from domain.patterns import PATTERNS
from domain.records import Case
from domain.settings import EvaluateSettings
from evaluation import pattern_part, survival_curves, survival_part
from evaluation.baselines import predict_baselines
from evaluation.cause_comparison import compare_causes
from evaluation.cautions import find_cautions
from evaluation.cohort import ENDPOINT_COLUMN, KEY_COLUMN, UNKNOWN_CAUSE, Cohort, build_cohort, keyed
from evaluation.comparison import compare
from evaluation.incidence import median_follow_up
from evaluation.intervals import FloatArray, bootstrap_counts
from evaluation.pattern_comparators import compare_patterns, single_quantity_metrics
from evaluation.subgroups import subgroup_metrics
from evaluation.survival_part import SurvivalSample

DECISION_HORIZONS_DAYS = (180.0, 365.0)
MIN_SEPARATE_TRAINING_EVENTS = 20  # cases without a prediction serve as training set of the comparators above it


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """What an evaluation needs besides the two tables.

    Attributes:
        antibodies: Vocabulary of the case table.
        covariates: Vocabulary of the case table.
        training_cases: Cases to fit the comparators on. None: the cases of the table that have no prediction, when
            they hold enough events and share no patient with the evaluated ones; else out of fold.
        training_predictions: Predictions table of the training cases, for comparators that use the image.
        trained_on: What the evaluated model was trained on.
        is_synthetic: The patients are synthetic.
    """

    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary
    training_cases: tuple[Case, ...] | None = None
    training_predictions: pd.DataFrame | None = None
    trained_on: str = ""
    is_synthetic: bool = False


def default_context(**changes: object) -> EvaluationContext:
    """The shipped vocabularies, and whatever else is given."""
    base = EvaluationContext(load_antibody_vocabulary(), load_covariate_vocabulary())
    return replace(base, **changes)  # type: ignore[arg-type]


def evaluate(
    predictions: pd.DataFrame,
    cases: Sequence[Case],
    endpoint: Endpoint,
    settings: EvaluateSettings,
    context: EvaluationContext | None = None,
) -> EvaluationResult:
    """Evaluate a predictions table against a case table.

    Args:
        predictions: Contract columns of ``predictions.csv``; ``case_key`` equals ``case_id``. An optional column
            ``fold`` says which out-of-fold model made a row.
        cases: Typed rows of the case table.
        endpoint: Which events count, and the horizons.
        settings: Resamples, level, seed.
        context: Vocabularies, training set of the comparators, labels; the shipped vocabularies by default.

    Returns:
        Metrics, differences, curves and cautions. What cannot be computed is ``None`` with a note.

    Raises:
        InputError: The tables do not fit together, or hold numbers that are no probabilities.
    """
    context = context or default_context()
    cohort = build_cohort(predictions, cases, endpoint, context.antibodies)
    counts = bootstrap_counts(cohort.patients, settings.num_bootstrap, settings.seed)
    level, seed = settings.level, settings.seed
    sample = survival_part.survival_sample(cohort, counts, endpoint)
    training = _training_cohort(cohort, cases, endpoint, context)
    metrics = pattern_part.pattern_metrics(cohort, counts, level, EVERYONE, seed) + pattern_part.reader_metrics(cohort)
    metrics += survival_part.overall_metrics(sample, cohort, level, EVERYONE)
    metrics += survival_part.cause_metrics(sample, endpoint, level, EVERYONE)
    differences = pattern_part.accuracy_above_chance(cohort, counts, level)
    extra = compare_patterns(cohort, counts, level, seed, training)
    metrics += extra[0] + single_quantity_metrics(cohort, counts, level)
    differences, comparators = differences + extra[1], extra[2]
    if sample is not None:
        extra = _comparisons(cohort, sample, endpoint, (context, training), settings)
        metrics, differences, comparators = metrics + extra[0], differences + extra[1], comparators + extra[2]
    by_subgroup, subgroup_points = subgroup_metrics(cohort, counts, endpoint, level, seed)
    points = survival_curves.calibration_points(sample, level, EVERYONE) if sample is not None else []
    decision = survival_curves.decision_curves(sample, DECISION_HORIZONS_DAYS, level) if sample is not None else []
    return EvaluationResult(
        trained_on=context.trained_on,
        is_synthetic=context.is_synthetic,
        endpoint=endpoint.name,
        endpoint_title=endpoint.title,
        survival_means=endpoint.survival_means,
        level=level,
        num_bootstrap=len(counts) - 1,
        cohort=_summary(cohort, predictions, cases, endpoint),
        metrics=tuple(metrics + by_subgroup),
        differences=tuple(differences),
        comparators=tuple(comparators),
        reliability=tuple(pattern_part.reliability(cohort, counts, level)),
        confusion=pattern_part.confusion_matrix(cohort),
        curves=(
            *pattern_part.coverage_accuracy_curve(cohort, counts, level),
            *survival_curves.risk_group_curves(cohort, counts, endpoint, level),
            *decision,
        ),
        calibration=tuple(points + subgroup_points),
        cautions=tuple(_cautions(cohort, counts, len(predictions) - len(cohort), context, settings)),
        methods=_methods(settings, len(counts) - 1, sample, _how_refitted(training, context)),
    )


def _comparisons(
    cohort: Cohort,
    sample: SurvivalSample,
    endpoint: Endpoint,
    sources: tuple[EvaluationContext, Cohort | None],
    settings: EvaluateSettings,
) -> tuple[list[Metric], list[Difference], list[Comparator]]:
    context, training = sources
    metrics: list[Metric] = []
    differences: list[Difference] = []
    comparators: list[Comparator] = []
    evaluated = cohort.take(survival_part.outcome_rows(cohort))
    fitted = predict_baselines(
        evaluated,
        context.covariates,
        sample.days,
        training=training,
        seed=settings.seed,
        skip=settings.skip_comparators,
    )
    for prediction in fitted:
        rows, paired, comparator = compare(sample, prediction, endpoint.risk_horizon_days, settings.level)
        metrics += rows
        differences += paired
        comparators.append(comparator)
    by_cause = compare_causes(evaluated, sample, endpoint, (training, settings.seed), settings.level)
    return metrics + by_cause[0], differences + by_cause[1], comparators


def _training_cohort(
    cohort: Cohort, cases: Sequence[Case], endpoint: Endpoint, context: EvaluationContext
) -> Cohort | None:
    """Cases the comparators are fitted on, apart from the evaluated patients; None for out-of-fold fitting."""
    evaluated, patients = {case.case_id for case in cohort.cases}, set(cohort.patients)
    given = context.training_cases
    if given is None:
        given = tuple(case for case in cases if case.case_id not in evaluated)
    separate = [case for case in given if case.patient_id not in patients and case.outcome_in(endpoint.event_column)]
    if not separate:
        return None
    training = build_cohort(
        _with_every_case(context.training_predictions, separate), separate, endpoint, context.antibodies
    )
    enough = context.training_cases is not None or (training.cause > 0).sum() >= MIN_SEPARATE_TRAINING_EVENTS
    return training if enough else None


def _with_every_case(predictions: pd.DataFrame | None, cases: Sequence[Case]) -> pd.DataFrame:
    """A row for each case: what was predicted of it, or its key alone.

    A model may have learnt from cases without a scan, and so may the comparators. They use what is measured on the
    scan, never a predicted course, so predictions for another endpoint serve as well.
    """
    keys = pd.DataFrame({KEY_COLUMN: [case.case_id for case in cases]})
    if predictions is None:
        return keys
    measured = keyed(predictions, "training predictions").drop(columns=ENDPOINT_COLUMN, errors="ignore")
    return keys.join(measured, on=KEY_COLUMN, validate="1:1")


def _summary(cohort: Cohort, predictions: pd.DataFrame, cases: Sequence[Case], endpoint: Endpoint) -> CohortSummary:
    known = cohort.cause != UNKNOWN_CAUSE
    named = np.array(cohort.antibody_classes)
    votes = np.nansum(cohort.labels, axis=0)
    return CohortSummary(
        num_cases=len(cohort),
        num_predicted=int(np.isfinite(cohort.probabilities).all(axis=1).sum()),
        num_abstained=int(cohort.is_abstained.sum()),
        num_missing=len(cases) - len(cohort),
        num_labelled=int(np.isfinite(cohort.labels).all(axis=1).sum()),
        num_with_outcome=int(known.sum()),
        num_patients=len(set(cohort.patients)),
        num_sites=len(set(cohort.sites) - {""}),
        events={key: int((cohort.cause == number).sum()) for number, key in enumerate(endpoint.cause_keys, start=1)},
        median_follow_up_days=median_follow_up(
            np.minimum(cohort.time_days[known], endpoint.last_day), cohort.cause[known]
        ),
        antibody_classes={str(name): int((named == name).sum()) for name in sorted(set(named))},
        patterns={pattern.value: float(votes[k]) for k, pattern in enumerate(PATTERNS)},
    )


def _cautions(
    cohort: Cohort, counts: FloatArray, unmatched: int, context: EvaluationContext, settings: EvaluateSettings
) -> list[Caution]:
    found = find_cautions(cohort, counts, settings.level, settings.seed)
    if unmatched:
        message = f"{unmatched} row(s) of the predictions have no case in the case table and are not evaluated."
        found.insert(0, Caution(code="unmatched_predictions", message=message, facts={"rows": float(unmatched)}))
    return _left_out(cohort, context.training_cases or ()) + found


def _left_out(cohort: Cohort, training_cases: Sequence[Case]) -> list[Caution]:
    """Training cases not used because their patient is evaluated; or another hospital's patient of the same number."""
    patients = set(cohort.patients)
    cases = sum(case.patient_id in patients for case in training_cases)
    if not cases:
        return []
    message = (
        f"{cases} of {len(training_cases)} training cases carry the patient ID of an evaluated case, and no comparator "
        "was fitted on them. If they are other patients (hospitals number alike), make the IDs differ, with the name "
        "of the hospital before them for instance."
    )
    return [Caution(code="training_cases_left_out", message=message, facts={"cases": float(cases)})]


def _how_refitted(training: Cohort | None, context: EvaluationContext) -> str:
    if training is None:
        return "out of fold, by patient"
    given = context.training_cases is not None
    return f"on {len(training)} " + ("separate training cases" if given else "cases of the table without a prediction")


def _methods(
    settings: EvaluateSettings, resamples: int, sample: SurvivalSample | None, how_refitted: str
) -> tuple[str, ...]:
    lines = [
        f"Intervals: {settings.level:.0%} percentile bootstrap, {resamples} resamples of patients, seed "
        f"{settings.seed}. Predictions are resampled, not the training of the model.",
        "Differences are paired: the same resamples, the same cases and the same pairs for both models.",
    ]
    if sample is not None:
        lines.append(
            "Ranking uses the mean of 1 - S over the evaluable horizons "
            f"({', '.join(f'{day:g}' for day in sample.days)} days); Uno's C counts events up to {sample.tau:g} days. "
            "Censoring is weighted by the Kaplan-Meier of the evaluated cases, left limit at events."
        )
        lines.append(f"Comparators were refitted {how_refitted}; those that use the image out of fold unless said.")
    return tuple(lines)
