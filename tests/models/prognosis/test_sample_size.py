"""Riley's criterion against its published formula, and the report in words."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.prognosis_generator import Variant, draw, endpoint_of
from models.prognosis.sample_size import cox_snell, sample_size_report


def test_expected_shrinkage_solves_the_published_formula() -> None:
    report = sample_size_report(draw(900, 2).data, endpoint=endpoint_of(Variant()))
    (death,) = report.causes
    shrinkage, explained = death.expected_shrinkage, cox_snell(death.num_events / 900)
    needed = report.num_parameters / ((shrinkage - 1) * np.log(1 - explained / shrinkage))
    assert 0 < shrinkage < 1
    assert needed == pytest.approx(900, rel=1e-3)


def test_more_patients_mean_less_shrinkage() -> None:
    few, many = (
        sample_size_report(draw(n, 2).data, endpoint=endpoint_of(Variant())).causes[0].expected_shrinkage
        for n in (200, 2000)
    )
    assert few < many


def test_a_hopeless_cohort_is_told_so() -> None:
    report = sample_size_report(draw(40, 2).data, endpoint=endpoint_of(Variant(competing=True)))
    transplant = report.causes[-1]
    assert transplant.expected_shrinkage == 0.0
    assert any("transplant" in line for line in report.lines())
