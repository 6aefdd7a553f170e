"""A large cohort has the numbers of the YAML, within sampling error, and only the effects that were planted."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from pydantic import ValidationError
from sklearn.metrics import cohen_kappa_score

from data_pipeline.phantoms import CohortSettings, Planted, draw_truths
from data_pipeline.phantoms.clinical_settings import ClinicalSettings, load_clinical_settings
from data_pipeline.phantoms.clinical_truth import Columns, ambiguity, draw_classes, draw_patients
from data_pipeline.phantoms.disease_settings import load_disease_settings
from data_pipeline.phantoms.follow_up import course_chances, severity
from data_pipeline.phantoms.hazards import EDGES_DAYS, HazardModel, event_time, survival_and_incidence
from data_pipeline.phantoms.laboratory import reader_votes
from data_pipeline.phantoms.patients import PatientTruth
from domain.antibodies import AntibodyStatus, load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import load_endpoint
from domain.patterns import PATTERNS, Pattern

CLINICAL = load_clinical_settings()
MDA5 = next(index for index, entry in enumerate(CLINICAL.classes) if entry.key == "mda5")
JO1 = next(index for index, entry in enumerate(CLINICAL.classes) if entry.key == "jo1")
NUM_TRUTHS = 1000


@lru_cache(maxsize=4)
def truths(**options: object) -> list[PatientTruth]:
    return draw_truths(CohortSettings(seed=77, num_patients=NUM_TRUTHS, num_readers=3, **options))


def many(class_index: int, count: int = 6000, seed: int = 1) -> Columns:
    rng = np.random.Generator(np.random.Philox(seed))
    return draw_patients(CLINICAL, "east_asia", np.full(count, class_index), rng)


@pytest.mark.parametrize("preset", ["east_asia", "west"])
def test_classes_have_the_prevalence_of_the_preset(preset: str) -> None:
    classes = draw_classes(CLINICAL, preset, 20_000, np.random.Generator(np.random.Philox(2)))
    shares = np.bincount(classes, minlength=len(CLINICAL.classes)) / len(classes)
    assert shares == pytest.approx([entry.prevalence[preset] for entry in CLINICAL.classes], abs=0.012)


@pytest.mark.parametrize("index", range(len(CLINICAL.classes)))
def test_patterns_and_rapid_courses_have_the_frequency_of_their_class(index: int) -> None:
    columns, entry = many(index), CLINICAL.classes[index]
    shares = [(columns["pattern"] == pattern.value).mean() for pattern in PATTERNS]
    assert shares == pytest.approx([entry.patterns[pattern] for pattern in PATTERNS], abs=0.02)
    assert columns["rapid"].mean() == pytest.approx(entry.rapid, abs=0.03)


@pytest.mark.parametrize("key", ["ferritin", "kl6", "crp", "fvc", "dlco", "extent"])
def test_covariates_have_the_quartiles_of_the_table(key: str) -> None:
    row = CLINICAL.covariate(key, "mda5")
    quartiles = np.quantile(many(MDA5)[key], [0.25, 0.5, 0.75])
    if row.form == "lognormal":
        assert quartiles[1] == pytest.approx(row.median, rel=0.06)
        assert quartiles[2] / quartiles[0] == pytest.approx(row.q75 / row.q25, rel=0.08)
    else:
        assert quartiles[1] == pytest.approx(row.median, abs=1)
        assert quartiles[2] - quartiles[0] == pytest.approx(row.q75 - row.q25, rel=0.08)


def test_covariates_are_correlated_as_asked() -> None:
    columns = many(JO1, 20_000)
    logs = {key: np.log(columns[key].astype(float)) for key in ("ferritin", "crp", "ldh", "kl6", "extent")}
    values = logs | {key: columns[key].astype(float) for key in ("fvc", "dlco")}
    for row in CLINICAL.correlations:
        one, other = row.pair
        if one in values and other in values:
            assert np.corrcoef(values[one], values[other])[0, 1] == pytest.approx(row.value, abs=0.05)


@pytest.mark.parametrize("index", [MDA5, JO1])
def test_death_follows_the_published_mortality_of_the_class(index: int) -> None:
    columns = many(index, 4000, seed=5)
    hazards = HazardModel(CLINICAL, "east_asia").hazards(columns, np.zeros(4000))
    rng = np.random.Generator(np.random.Philox(6))
    times = np.array([event_time(row[0], rng.random()) for row in hazards])
    curve = KaplanMeierFitter().fit(np.minimum(times, 4000), times < 4000)
    expected = CLINICAL.dead_by(CLINICAL.classes[index].mortality)
    found = 1 - curve.survival_function_at_times(list(EDGES_DAYS[1:])).to_numpy()
    errors = 3.5 * np.sqrt(np.array(expected) * (1 - np.array(expected)) / 4000) + 0.01
    assert (np.abs(found - expected) < errors).all()


@pytest.mark.parametrize(
    ("periods", "message"),
    [
        ({"months": [3, 6, 12]}, "no mortality row 'mda5_modern' of 3 periods"),
        ({"months": [6, 3, 12, 60]}, "rise"),
        ({"late_months": 7}, "late_months 7.0 is one of them"),
    ],
)
def test_periods_that_do_not_fit_the_mortality_are_refused(periods: dict[str, object], message: str) -> None:
    rows = CLINICAL.model_dump(mode="json")
    rows["periods"] |= periods
    with pytest.raises(ValidationError, match=message):
        ClinicalSettings.model_validate_json(json.dumps(rows))


def test_treatment_eras_change_mda5_mortality_only() -> None:
    for era, dead in (("triple", 0.12), ("stepup", 0.70)):
        model = HazardModel(CLINICAL, "east_asia", Planted(era=era))
        survival = [
            survival_and_incidence(row[:1], [365.25])[0] for row in model.hazards(many(MDA5, 2500), np.zeros(2500))
        ]
        assert 1 - np.mean(survival) == pytest.approx(dead, abs=0.025)


def test_early_and_late_hazards_of_mda5_are_not_proportional_to_those_of_jo1() -> None:
    model = HazardModel(CLINICAL, "east_asia")
    means = [model.hazards(many(index, 2000), np.zeros(2000))[:, 0].mean(axis=0) for index in (MDA5, JO1)]
    ratio = means[0] / means[1]
    assert ratio[0] > 8 * ratio[3]


def test_survival_and_incidence_add_up_and_never_turn() -> None:
    hazards = HazardModel(CLINICAL, "west").hazards(many(MDA5, 50), np.zeros(50))
    days = np.linspace(0, 2500, 60)
    for row in hazards:
        survival, incidence = survival_and_incidence(row, days)
        assert survival + incidence.sum(axis=0) == pytest.approx(np.ones(60))
        assert (np.diff(survival) <= 0).all()
        assert (np.diff(incidence, axis=1) >= -1e-15).all()


def ground_glass_effect(planted: Planted, index: int) -> float:
    """Log hazard ratio of death in six months per 10 percent of ground glass, adjusted for the other terms."""
    columns = many(index, 3000, seed=9)
    hazards = HazardModel(CLINICAL, "east_asia", planted).hazards(columns, np.zeros(3000))
    other = HazardModel(CLINICAL, "east_asia", replace(planted, image=False, interactions=False))
    bare = other.hazards(columns, np.zeros(3000))
    shift = np.log(hazards[:, 0, 0] / bare[:, 0, 0])
    design = np.column_stack(
        [np.ones(3000), columns["ground_glass"] / 10, columns["reticulation"] / 10, columns["mixed"]]
    )
    return float(np.linalg.lstsq(design, shift, rcond=None)[0][1])


def test_interactions_exist_only_where_they_are_planted() -> None:
    shrink = CLINICAL.shrink.value
    main, extra = shrink * np.log(1.3), shrink * np.log(2.2)
    assert ground_glass_effect(Planted(), MDA5) == pytest.approx(main + extra, abs=1e-3)
    assert ground_glass_effect(Planted(interactions=False), MDA5) == pytest.approx(main, abs=1e-3)
    assert ground_glass_effect(Planted(image=False, interactions=False), MDA5) == pytest.approx(0, abs=1e-6)


def test_a_cox_model_finds_a_planted_interaction_and_none_in_the_null_cohort() -> None:
    import pandas as pd

    found = {}
    for name, planted in (("planted", Planted()), ("null", Planted(image=False, interactions=False))):
        columns = many(MDA5, 2500, seed=12)
        hazards = HazardModel(CLINICAL, "east_asia", planted).hazards(columns, np.zeros(2500))
        rng = np.random.Generator(np.random.Philox(13))
        times = np.array([event_time(row[0], rng.random()) for row in hazards])
        frame = pd.DataFrame({"time": np.minimum(times, 180), "dead": times < 180, "x": columns["ground_glass"] / 10})
        for term in ("age", "rapid", "fvc"):
            frame[term] = columns[term].astype(float)
        found[name] = CoxPHFitter().fit(frame, "time", "dead").summary.loc["x"]
    assert found["planted"]["p"] < 1e-6
    assert abs(found["null"]["z"]) < 3.5


def test_readers_agree_with_each_other_as_published() -> None:
    votes = [truth.case.pattern_votes for truth in truths()]
    for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
        kappa = cohen_kappa_score([vote[one].value for vote in votes], [vote[other].value for vote in votes])
        assert 0.45 <= kappa <= 0.60


def test_readers_err_more_often_near_the_border_of_two_patterns() -> None:
    errors = {}
    for unclear in (0.0, 1.0):
        rng = np.random.Generator(np.random.Philox(8))
        votes = [reader_votes(CLINICAL, Pattern.NSIP, unclear, 3, rng) for _ in range(1500)]
        errors[unclear] = np.mean([vote is not Pattern.NSIP for one in votes for vote in one.values()])
    assert errors[1.0] > 1.6 * errors[0.0]
    assert ambiguity(0.1, 0.1) == 1.0
    assert ambiguity(0.5, 0.1) == 0.0
    assert ambiguity(0.92, 0.1) > ambiguity(0.97, 0.1) > 0


def test_not_tested_is_common_and_false_negatives_happen() -> None:
    counts = {"panel": 0, "missed": 0, "found": 0}
    for truth in truths():
        result = truth.case.antibodies.get("mda5")
        counts["panel"] += result is not None
        if result is not None and "mda5" in truth.antibodies:
            counts["found" if result.status is AntibodyStatus.POSITIVE else "missed"] += 1
    assert 0.7 < counts["panel"] / NUM_TRUTHS < 0.9
    assert counts["found"] / (counts["found"] + counts["missed"]) == pytest.approx(0.90, abs=0.04)


def test_line_blots_leave_oj_untested_or_missed() -> None:
    carriers = [truth for truth in truths() if "oj" in truth.antibodies]
    assert carriers
    statuses = {truth.case.antibodies["oj"].status for truth in carriers if "oj" in truth.case.antibodies}
    assert AntibodyStatus.POSITIVE not in statuses


def test_dlco_is_missing_more_often_in_rapid_courses() -> None:
    missing = {flag: [] for flag in (0.0, 1.0)}
    for truth in truths():
        missing[float(truth.columns["rapid"])].append("dlco" not in truth.case.covariates)
    assert np.mean(missing[1.0]) == pytest.approx(CLINICAL.missing.dlco_if_rapid, abs=0.06)
    assert np.mean(missing[0.0]) == pytest.approx(CLINICAL.missing.dlco, abs=0.05)


def test_all_events_and_values_fit_the_vocabularies() -> None:
    endpoint, keys = load_endpoint("course"), set(load_antibody_vocabulary().keys)
    entries = {entry.key: entry for entry in load_covariate_vocabulary().covariates}
    for truth in truths():
        assert truth.case.outcome is not None
        assert endpoint.cause_index(truth.case.outcome.event) is not None
        assert truth.case.outcome.time_days > 0
        assert set(truth.antibodies) <= keys
        assert sum(key != "ro52" for key in truth.antibodies) <= 1, "specific antibodies exclude each other"
        for key, value in truth.case.covariates.items():
            entry = entries[key]
            if isinstance(value, str):
                assert value in entry.levels
            else:
                assert entry.plausible_range[0] <= value <= entry.plausible_range[1]


def test_treatment_smoking_and_subtype_follow_from_the_patient_and_keep_their_frequency() -> None:
    columns, entry = many(MDA5, 12_000, seed=3), CLINICAL.classes[MDA5]
    rapid, treated = columns["rapid"] > 0.5, columns["treatment_combination"].astype(float)
    assert treated[rapid].mean() > treated[~rapid].mean() + 0.15
    assert treated.mean() == pytest.approx(CLINICAL.treatment_combination.mda5, abs=0.03)
    smokes, is_female = columns["smoking"].astype(float), columns["is_female"].astype(bool)
    assert smokes[~is_female].mean() > 1.5 * smokes[is_female].mean()
    assert smokes.mean() == pytest.approx(entry.smoking, abs=0.03)
    amyopathic = columns["subtype"] == "cadm"
    assert amyopathic[rapid].mean() > amyopathic[~rapid].mean() + 0.05


def test_smokers_have_emphysema_more_often() -> None:
    index = next(number for number, entry in enumerate(CLINICAL.classes) if entry.key == "none")
    columns = many(index, 12_000, seed=4)
    is_emphysema = (columns["pattern"] == "other") & (columns["other_kind"] == "emphysema")
    smokes = columns["smoking"].astype(float)
    assert smokes[is_emphysema].mean() > 2 * smokes[~is_emphysema].mean()


def test_rapid_courses_are_sent_to_specialists() -> None:
    general = {f"site{number + 1}" for number in range(round(CLINICAL.assay.general_sites * 6))}
    shares = {
        flag: np.mean([t.case.site in general for t in truths() if (float(t.columns["rapid"]) > 0.5) is flag])
        for flag in (False, True)
    }
    assert shares[True] < shares[False] - 0.05


def test_a_bad_prognosis_makes_a_second_scan_look_worse() -> None:
    settings = load_disease_settings().follow_up
    chances = [course_chances(settings, score) for score in (-1.5, 0.0, 1.5)]
    names = [course.name for course in settings.courses]
    assert chances[1] == pytest.approx([course.share for course in settings.courses])
    worse = [chance[names.index("worse")] for chance in chances]
    assert worse[0] < 0.5 * worse[1] < worse[1] < 0.5 * worse[2]
    scores = [severity(settings, truth, 180) for truth in truths()[:300]]
    assert np.mean(scores) == pytest.approx(0.2, abs=0.4)
    assert np.std(scores) == pytest.approx(1.1, abs=0.4)
