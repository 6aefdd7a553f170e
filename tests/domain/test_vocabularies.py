from __future__ import annotations

import math

import numpy as np
import pytest

from domain.antibodies import AntibodyResult, AntibodyStatus, load_antibody_vocabulary
from domain.cohort import code_cohort
from domain.config_files import config_path
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import Endpoint, load_endpoint
from domain.errors import SettingsError
from domain.patterns import PATTERNS, Pattern, load_pattern_vocabulary, vote_probabilities
from domain.prognostic_data import PrognosticData
from domain.records import Case, Outcome
from domain.strict_yaml import validate


def test_every_shipped_endpoint_loads_and_knows_its_name() -> None:
    folder = config_path("endpoints/course.yaml").parent
    names = [path.stem for path in folder.glob("*.yaml")]
    assert {"course", "death"} <= set(names)
    assert all(load_endpoint(name).name == name for name in names)


def test_every_vocabulary_entry_has_a_source() -> None:
    entries = [
        *load_antibody_vocabulary().antibodies,
        *load_covariate_vocabulary().covariates,
        *load_pattern_vocabulary().patterns,
    ]
    assert len(entries) > 30
    assert all(entry.source for entry in entries)


@pytest.mark.parametrize(("text", "pattern"), [("NSIP/OP", Pattern.MIXED), (" op ", Pattern.OP), ("lobar", None)])
def test_patterns_are_read_by_key_or_alias(text: str, pattern: Pattern | None) -> None:
    assert load_pattern_vocabulary().parse(text) is pattern


def test_mixed_is_both_components() -> None:
    assert [(p.has_nsip, p.has_op) for p in PATTERNS] == [(True, False), (False, True), (True, True), (False, False)]


def test_votes_become_a_soft_label_and_no_votes_become_nan() -> None:
    votes = {"a": Pattern.NSIP, "b": Pattern.MIXED, "c": Pattern.NSIP}
    np.testing.assert_allclose(vote_probabilities(votes), [2 / 3, 0, 1 / 3, 0])
    assert np.isnan(vote_probabilities({})).all()


def test_an_endpoint_codes_events_and_groups_risks() -> None:
    endpoint = load_endpoint("course")
    assert [endpoint.cause_index(event) for event in ("alive", "death", "progression", "moved")] == [0, 1, 2, None]
    assert [endpoint.risk_group(risk) for risk in (0.0, 0.15, 0.5, 1.0)] == ["low", "moderate", "high", "high"]


@pytest.mark.parametrize(
    "changes",
    [{"grid_days": [0, 90, 60]}, {"horizons_days": [91]}, {"censored_events": ["death"]}, {"risk_horizon_days": 7}],
)
def test_an_incoherent_endpoint_is_refused(changes: dict[str, object]) -> None:
    value = load_endpoint("course").model_dump(mode="json") | changes
    with pytest.raises(SettingsError, match=r"grid_days|horizons_days|two places|risk_horizon"):
        validate(Endpoint, value, source="test")


def test_coding_keeps_missing_and_untested_apart_from_zero_and_negative() -> None:
    antibodies, covariates = load_antibody_vocabulary(), load_covariate_vocabulary()
    positive, negative = AntibodyResult(AntibodyStatus.POSITIVE, 3), AntibodyResult(AntibodyStatus.NEGATIVE)
    cases = [
        Case("a", "p1", antibodies={"mda5": positive, "jo1": negative}, covariates={"ferritin": 500.0, "sex": "male"}),
        Case("b", "p2", outcome=Outcome(30, "death")),
    ]
    data = code_cohort(cases, antibodies, covariates, load_endpoint("course"))
    assert data.antibodies is not None
    assert data.covariates is not None
    assert data.time_days is not None
    assert data.cause is not None
    assert data.antibodies[0, :2].tolist() == [1, 0]
    assert (data.antibodies[1] == -1).all()
    ferritin = data.covariate_names.index("ferritin")
    assert data.covariates[0, ferritin] == pytest.approx(math.log(500))
    assert data.covariates[0, data.covariate_names.index("sex=male")] == 1
    assert np.isnan(data.covariates[1]).all()
    assert np.isnan(data.time_days[0])
    assert data.cause.tolist() == [0, 1]


def test_events_after_a_window_are_censored_at_it() -> None:
    endpoint = load_endpoint("course").model_copy(update={"window_days": 90.0})
    cases = [Case("a", "a", outcome=Outcome(120, "death")), Case("b", "b", outcome=Outcome(60, "death"))]
    data = code_cohort(cases, load_antibody_vocabulary(), load_covariate_vocabulary(), endpoint)
    assert data.time_days is not None
    assert data.cause is not None
    assert data.time_days.tolist() == [90, 60]
    assert data.cause.tolist() == [0, 1]


def test_taking_rows_keeps_blocks_together() -> None:
    data = PrognosticData(("a", "b", "c"), covariate_names=("x",), covariates=np.array([[1.0], [2.0], [3.0]]))
    taken = data.take([2, 0])
    assert taken.case_ids == ("c", "a")
    assert taken.covariates is not None
    assert taken.covariates.ravel().tolist() == [3, 1]
    with pytest.raises(ValueError, match="columns but"):
        PrognosticData(("a",), covariate_names=("x", "y"), covariates=np.zeros((1, 1)))
