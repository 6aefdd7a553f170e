from __future__ import annotations

import pytest

from domain.antibodies import AntibodyResult, AntibodyStatus, load_antibody_vocabulary
from evaluation.antibody_class import antibody_class

POSITIVE, NEGATIVE = AntibodyResult(AntibodyStatus.POSITIVE), AntibodyResult(AntibodyStatus.NEGATIVE)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({}, "not_tested"),
        ({"mda5": AntibodyResult()}, "not_tested"),
        ({"mda5": POSITIVE, "jo1": POSITIVE}, "mda5"),
        ({"mda5": NEGATIVE, "ks": POSITIVE}, "ars"),
        ({"srp": POSITIVE}, "other_msa"),
        ({"ku": POSITIVE, "mda5": NEGATIVE, "jo1": NEGATIVE}, "maa"),
        ({"mda5": NEGATIVE, "jo1": NEGATIVE}, "negative"),
        ({"mda5": NEGATIVE}, "incomplete_panel"),
        ({"jo1": NEGATIVE, "mi2": NEGATIVE}, "incomplete_panel"),
        ({"ro52": POSITIVE}, "not_tested"),
        ({"ro52": POSITIVE, "mda5": NEGATIVE, "ars": NEGATIVE}, "negative"),
    ],
)
def test_each_result_has_its_class_and_not_tested_is_never_negative(
    results: dict[str, AntibodyResult], expected: str
) -> None:
    assert antibody_class(results, load_antibody_vocabulary()) == expected
