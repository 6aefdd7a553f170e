"""The head on the synthetic patients of ``data_pipeline.phantoms``: their tables, true extents and true hazards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray
from prognosis_scores import SCORE_DAYS, ibs, uno_c

from data_pipeline.phantoms.hazards import survival_and_incidence
from data_pipeline.phantoms.patients import CohortSettings, PatientTruth, draw_truths
from domain.antibodies import load_antibody_vocabulary
from domain.cohort import code_cohort
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import load_endpoint
from domain.patterns import NUM_PATTERNS, PATTERNS
from domain.prognostic_data import PrognosticData
from domain.quantities import CONSOLIDATION_PERCENT, GGO_PERCENT, HIGH_ATTENUATION_PERCENT, RETICULATION_PERCENT
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel

FloatArray = NDArray[np.float64]

MEASUREMENT_NOISE = 0.15  # relative error of a measured extent
PATTERN_ACCURACY = 0.75  # probability given to the true pattern: an image model with known, honest doubt
TRAIN_SIZE, TEST_SIZE = 800, 600


@dataclass(frozen=True, eq=False)
class PhantomCohort:
    """Coded patients, their classes and their true survival on ``SCORE_DAYS`` and at one year."""

    data: PrognosticData
    group: NDArray[np.str_]
    survival: FloatArray
    survival_one_year: FloatArray


def draw_phantoms(num_patients: int, seed: int) -> PhantomCohort:
    """Patients of the default preset; the image is the true extent with noise, not a rendered scan."""
    patients = draw_truths(CohortSettings(seed=seed, num_patients=num_patients))
    data = code_cohort(
        [patient.case for patient in patients],
        load_antibody_vocabulary(),
        load_covariate_vocabulary(),
        load_endpoint("course"),
    )
    rng = np.random.default_rng([seed, 9])
    names = (GGO_PERCENT, CONSOLIDATION_PERCENT, RETICULATION_PERCENT, HIGH_ATTENUATION_PERCENT)
    true = np.array(
        [[float(p.columns[n]) for n in ("ground_glass", "consolidation", "reticulation", "extent")] for p in patients]
    )
    measured = true * np.exp(MEASUREMENT_NOISE * rng.normal(size=true.shape))
    data = data.replaced(
        quantitative=measured,
        quantitative_names=names,
        pattern_probabilities=np.array([_honest(p, rng) for p in patients]),
        patterns_out_of_fold=True,
    )
    curves = np.array([survival_and_incidence(p.hazards, [*SCORE_DAYS, 365.25])[0] for p in patients])
    group = np.array([str(p.columns["group"]) for p in patients])
    return PhantomCohort(data, group, curves[:, :-1], curves[:, -1])


def _honest(patient: PatientTruth, rng: np.random.Generator) -> FloatArray:
    """Calibrated probabilities: the favoured pattern is the true one in ``PATTERN_ACCURACY`` of patients."""
    truth = [pattern.value for pattern in PATTERNS].index(str(patient.columns["pattern"]))
    others = [index for index in range(NUM_PATTERNS) if index != truth]
    favoured = truth if rng.random() < PATTERN_ACCURACY else int(rng.choice(others))
    shares = np.full(NUM_PATTERNS, (1 - PATTERN_ACCURACY) / (NUM_PATTERNS - 1))
    shares[favoured] = PATTERN_ACCURACY
    return shares


def phantom_rows(scale: float) -> list[tuple[str, int, str, str, str, str]]:
    """Rows for the table: ranking, and calibration by antibody class, against the planted truth."""
    figures, groups = [], ("mda5", "ars", "other")
    for seed in range(max(1, round(4 * scale))):
        train, test = draw_phantoms(TRAIN_SIZE, 100 + seed), draw_phantoms(TEST_SIZE, 200 + seed)
        head = PrognosticModel.fit(train.data, PrognosisSettings(num_bootstrap=0), load_endpoint("course"))
        curves = head.survival(test.data, np.minimum(SCORE_DAYS, head.state.grid.supported_days))
        by_class = _kaplan_meier_by_class(train, test)
        one_year = head.survival(test.data, [365.25])[:, 0]
        row = [uno_c(train.data, test.data, c) for c in (curves, by_class, test.survival)]
        row += [ibs(train.data, test.data, c) for c in (curves, by_class, test.survival)]
        for group in groups:
            rows = test.group == group if group != "other" else ~np.isin(test.group, ("mda5", "ars"))
            row.append(float((test.survival_one_year[rows] - one_year[rows]).mean()))
        figures.append(row)
    mean = np.mean(figures, axis=0)
    where, sets = "phantom cohort (synthetic)", f"mean of {len(figures)} sets"
    better, lower = mean[0] > mean[1], mean[3] < mean[4]
    lines = [
        (
            where,
            TRAIN_SIZE,
            f"Uno C, {sets}",
            f"{mean[0]:.3f} (truth {mean[2]:.3f})",
            f"> class alone {mean[1]:.3f}",
            better,
        ),
        (where, TRAIN_SIZE, "IBS", f"{mean[3]:.4f} (truth {mean[5]:.4f})", f"< class alone {mean[4]:.4f}", lower),
    ]
    for group, bias in zip(groups, mean[6:], strict=True):
        lines.append(
            (where, TRAIN_SIZE, f"bias of 1-year risk, {group}", f"{bias:+.3f}", "within +-0.04", abs(bias) <= 0.04)
        )
    return [(*line[:5], "met" if line[5] else "**not met**") for line in lines]


def _kaplan_meier_by_class(train: PhantomCohort, test: PhantomCohort) -> FloatArray:
    """Survival of the patient's true antibody group in the training cohort: what the class alone can say."""
    assert train.data.time_days is not None
    assert train.data.cause is not None
    answer = np.ones((len(test.data), len(SCORE_DAYS)))
    for group in set(test.group):
        rows = train.group == group if (train.group == group).sum() >= 5 else np.ones(len(train.group), bool)
        fitter = KaplanMeierFitter().fit(train.data.time_days[rows], train.data.cause[rows] > 0)
        answer[test.group == group] = fitter.survival_function_at_times(SCORE_DAYS).to_numpy()
    return answer
