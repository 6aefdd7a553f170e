"""Results of every kind for the tests of the reports."""

from __future__ import annotations

from domain.findings import QualityCode, Stage
from domain.patterns import Pattern
from domain.records import (
    CaseResult,
    CaseStatus,
    Contribution,
    FindingRecord,
    HorizonRisk,
    PatternPrediction,
    Prediction,
    PrognosisPrediction,
    WhatIf,
)

HORIZONS = (90.0, 180.0, 365.0, 1096.0, 1826.0)


def risk_at(days: float, scale: float = 900.0) -> HorizonRisk:
    """A curve with three causes that add up."""
    survival = 0.15 + 0.85 / (1 + days / scale)
    lost = 1 - survival
    return HorizonRisk(
        days=days,
        survival=survival,
        survival_lo=max(0.0, survival - 0.4 * lost),
        survival_hi=min(1.0, survival + 0.4 * lost),
        cumulative_incidence={"death": 0.5 * lost, "progression": 0.4 * lost, "transplant": 0.1 * lost},
    )


def prognosis(endpoint: str = "course", mode: str = "full") -> PrognosisPrediction:
    """A full answer of the head."""
    return PrognosisPrediction(
        endpoint=endpoint,
        survival_means="alive without progression or transplant",
        curve=tuple(risk_at(1826.0 * (step / 40) ** 2) for step in range(41)),
        horizons=tuple(risk_at(days) for days in HORIZONS),
        band_level=0.9,
        band_coverage=0.88,
        risk_group="moderate",
        mode=mode,
        inputs_used=("image", "ab_mda5", "ferritin"),
        inputs_missing=("ab_ro52", "fvc"),
        contributions=tuple(
            Contribution(block=block, days=365.0, log_hazard=value, cause="death")
            for block, value in {"antibodies": 0.8, "image": -0.3, "laboratory": 0.25, "demographic": 0.0}.items()
        ),
        what_if=(
            WhatIf(antibody="mda5", status="negative", num_training_patients=80, horizons=(risk_at(365.0, 2500.0),)),
            WhatIf(antibody="ha", status="positive", num_training_patients=0, refused="never seen in training"),
        ),
        plausible_range=tuple(
            HorizonRisk(days=days, survival=None, survival_lo=0.9 / (1 + days / 500), survival_hi=1 / (1 + days / 4000))
            for days in HORIZONS
        ),
        notes=("Ferritin is above the range of the training cohort.",),
    )


def pattern(*, abstained: bool = False) -> PatternPrediction:
    """Probabilities of the four patterns."""
    shares = {Pattern.NSIP: 0.62, Pattern.OP: 0.06, Pattern.MIXED: 0.3, Pattern.OTHER: 0.02}
    return PatternPrediction(
        probabilities=shares,
        pattern=None if abstained else Pattern.NSIP,
        abstained=abstained,
        reason="The scan is unlike the training scans." if abstained else "",
        pattern_set=(Pattern.NSIP, Pattern.MIXED),
        set_level=0.9,
        ood_score=3.1 if abstained else 0.7,
        ood_threshold=2.0,
    )


def predicted(key: str = "case-1", pictures: dict[str, str] | None = None) -> CaseResult:
    """A study with everything."""
    finding = FindingRecord(code=QualityCode.SOFT_KERNEL, severity="warn", message="The kernel D40s is a soft one.")
    return CaseResult(
        case_key=key,
        status=CaseStatus.PREDICTED,
        trained_on="synthetic patients",
        series_message="thinnest of 2 axial series",
        prediction=Prediction(
            pattern=pattern(),
            prognoses=(prognosis(), prognosis("death")),
            quantitative={"ggo_percent": 12.3456789, "consolidation_percent": 1.2, "reticulation_percent": None},
            findings=(finding, finding),
        ),
        antibodies={"mda5": "positive", "jo1": "negative", "ro52": "not_tested"},
        covariates={"age_years": 58.0, "sex": "female"},
        scan_facts={"num_slices": 148, "kernel": "D40s"},
        seconds={"total": 1.25, "read": 0.5},
        digests={"input": "0011", "model": "2233", "graph": "4455"},
        pictures=pictures or {},
    )


def abstained() -> CaseResult:
    """A study the network refused to answer."""
    prediction = Prediction(pattern=pattern(abstained=True), prognoses=(prognosis(mode="image_only"),))
    return CaseResult(
        case_key="case-2", status=CaseStatus.ABSTAINED, trained_on="synthetic patients", prediction=prediction
    )


def failed() -> CaseResult:
    """A study that crashed a decoder; its message holds what a page must escape."""
    return CaseResult(
        case_key="case-3",
        status=CaseStatus.FAILED,
        failure_stage=Stage.READ,
        failure_code=QualityCode.DECODER_CRASHED,
        failure_message='The process crashed <script>alert(1)</script>, then "stopped".',
    )


def tables_only() -> CaseResult:
    """A row of the case table without a scan."""
    prediction = Prediction(prognoses=(prognosis(mode="tables_only"),))
    return CaseResult(case_key="case-4", status=CaseStatus.PREDICTED, prediction=prediction)


ALL_KINDS = (predicted(), abstained(), failed(), tables_only())
