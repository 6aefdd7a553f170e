"""Columns the comparators see, from the case table and the predictions. NaN is missing; nothing is imputed here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from domain.antibodies import AntibodyStatus
from domain.covariates import CovariateBlock, CovariateVocabulary
from domain.quantities import CONSOLIDATION_PERCENT, GGO_PERCENT, HIGH_ATTENUATION_PERCENT, TABLE_QUANTITIES
from domain.records import Case
from evaluation.antibody_class import CLASS_ORDER, NEGATIVE
from evaluation.cohort import Cohort
from evaluation.intervals import FloatArray

Columns = Callable[[Cohort, CovariateVocabulary], FloatArray]

CRP_CUT_MDA5_MG_DL, CRP_CUT_OTHER_MG_DL, KL6_CUT_U_ML = 0.8, 1.1, 1000.0  # MCK: Gono 2021 AR 73:677
FERRITIN_CUT_NG_ML, LDH_CUT_U_L = 636.0, 355.0  # FLAIR: Lian 2020 Chest 158:1535
FLAIR_MDA5_POINTS = {1: 2.0, 2: 2.0, 3: 3.0, 4: 4.0}  # +, ++, +++ score 2, 3, 4; a weak result counts as +
PRESPECIFIED_GATES = ("mda5", "ars")  # classes whose image effect may differ, fixed before looking


def clinical(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """Coded covariates but treatment, which is associated with severity and is no baseline state."""
    coded = covariates.code([case.covariates for case in cohort.cases])
    treatment = {entry.key for entry in covariates.covariates if entry.block is CovariateBlock.TREATMENT}
    keep = [place for place, name in enumerate(covariates.coded_names) if name.split("=")[0] not in treatment]
    return coded[:, keep]


def antibodies(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """One column per class but negative (not tested is a class), and Ro52 with its own not-tested state."""
    classes = np.array(cohort.antibody_classes)
    columns = [(classes == name).astype(np.float64) for name in CLASS_ORDER if name != NEGATIVE]
    ro52 = [_state(case, "ro52") for case in cohort.cases]
    return np.column_stack([*columns, np.array(ro52)]) if len(cohort) else np.zeros((0, len(columns) + 1))


def age_and_antibodies(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """Age beside the antibody columns."""
    return np.column_stack([_covariate(cohort, "age"), antibodies(cohort, covariates)])


def clinical_and_antibodies(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """What a clinic knows without looking at the scan."""
    return np.column_stack([clinical(cohort, covariates), antibodies(cohort, covariates)])


def image_score(cohort: Cohort) -> FloatArray:
    """One number per scan: high attenuation, else ground glass plus consolidation, percent of lung. Shape (N,)."""
    named = dict(zip(TABLE_QUANTITIES, cohort.quantities.T, strict=True))
    extent = named[GGO_PERCENT] + np.nan_to_num(named[CONSOLIDATION_PERCENT], nan=0.0)
    high = named[HIGH_ATTENUATION_PERCENT]
    return np.asarray(np.where(np.isfinite(high), high, extent), dtype=np.float64)


def with_image_score(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """Clinic and antibodies, plus the one image number."""
    return np.column_stack([clinical_and_antibodies(cohort, covariates), image_score(cohort)])


def with_interactions(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """The same plus MDA5 and ARS times the image score and times log ferritin, fixed before looking."""
    classes = np.array(cohort.antibody_classes)
    score, ferritin = image_score(cohort), np.log(np.maximum(_covariate(cohort, "ferritin"), 1.0))
    gates = [np.where(classes == name, column, 0.0) for name in PRESPECIFIED_GATES for column in (score, ferritin)]
    return np.column_stack([with_image_score(cohort, covariates), *gates])


def ground_glass(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """Ground-glass extent alone."""
    return cohort.quantities[:, [TABLE_QUANTITIES.index(GGO_PERCENT)]]


def mck(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """MDA5 state, number of criteria met (0 to 2) and their product; NaN where an input is missing.

    Source:
        Gono T et al. Arthritis Rheumatol 2021;73:677; criteria as restated by Miyake H et al. Mod Rheumatol 2025.
    """
    mda5 = np.array([_state(case, "mda5") for case in cohort.cases])
    crp, kl6 = _covariate(cohort, "crp"), _covariate(cohort, "kl6")
    cut = np.where(mda5 == 1, CRP_CUT_MDA5_MG_DL, CRP_CUT_OTHER_MG_DL)
    score = (crp >= cut).astype(float) + (kl6 >= KL6_CUT_U_ML)
    score = np.where(np.isfinite(mda5 + crp + kl6), score, np.nan)
    return np.column_stack([np.where(np.isfinite(score), mda5, np.nan), score, mda5 * score])


def flair_like(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """FLAIR points that a case table can give: ferritin, LDH, MDA5 by grade; no visual score, no RP-ILD item.

    Source:
        Lian X et al. Chest 2020;158:1535-1545.
    """
    ferritin, ldh = _covariate(cohort, "ferritin"), _covariate(cohort, "ldh")
    antibody = np.array([_flair_mda5_points(case) for case in cohort.cases])
    points = 2.0 * (ferritin >= FERRITIN_CUT_NG_ML) + 2.0 * (ldh >= LDH_CUT_U_L) + antibody
    return np.where(np.isfinite(ferritin + ldh), points, np.nan)[:, None]


def ild_gap(cohort: Cohort, covariates: CovariateVocabulary) -> FloatArray:
    """ILD-GAP points: sex, age, FVC, DLCO; every case is connective-tissue disease, whose -2 shifts all alike.

    Source:
        Ryerson CJ et al. Chest 2014;145:723-728.
    """
    age, fvc, dlco = (_covariate(cohort, key) for key in ("age", "fvc", "dlco"))
    sex = [case.covariates.get("sex") for case in cohort.cases]
    male = np.array([math.nan if value is None else float(value == "male") for value in sex])
    points = male + (age > 60) + (age > 65) + (fvc <= 75) + (fvc < 50) + (dlco <= 55) + (dlco <= 35)
    return np.where(np.isfinite(age + fvc + dlco), points, np.nan)[:, None]


def _flair_mda5_points(case: Case) -> float:
    state = _state(case, "mda5")
    if state != 1:
        return state  # 0 when negative, NaN when not tested
    grade = case.antibodies["mda5"].grade
    return FLAIR_MDA5_POINTS.get(grade, 2.0) if grade is not None else 2.0


def _state(case: Case, key: str) -> float:
    result = case.antibodies.get(key)
    if result is None or result.status is AntibodyStatus.NOT_TESTED:
        return math.nan
    return float(result.status is AntibodyStatus.POSITIVE)


def _covariate(cohort: Cohort, key: str) -> FloatArray:
    values = [case.covariates.get(key) for case in cohort.cases]
    return np.array([math.nan if value is None or isinstance(value, str) else float(value) for value in values])
