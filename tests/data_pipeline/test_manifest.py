from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.manifest import read_cases
from data_pipeline.template_command import template_text
from domain.antibodies import AntibodyStatus, load_antibody_vocabulary
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import load_endpoint
from domain.errors import CaseTableError
from domain.patterns import Pattern, load_pattern_vocabulary
from domain.records import Case

ENDPOINTS = (load_endpoint("course"), load_endpoint("rp_ild"))


def read(path: Path, text: str) -> tuple[Case, ...]:
    table = path / "cases.csv"
    table.write_text(text, encoding="utf-8")
    return read_cases(
        table, load_antibody_vocabulary(), load_covariate_vocabulary(), load_pattern_vocabulary(), endpoints=ENDPOINTS
    )


def problems_of(path: Path, text: str) -> str:
    with pytest.raises(CaseTableError) as caught:
        read(path, text)
    return str(caught.value)


def test_a_full_row_is_read(tmp_path: Path) -> None:
    text = (
        "# a comment, with a comma\n"
        "case_id,patient_id,scan,site,pattern,ab_mda5,ab_mda5_grade,ab_jo1,ferritin_pmol_l,sex,time_days,event,x_mine\n"
        "c1,p1,c1/ct,s1,NSIP+OP,positive,++,,2800,Male,120,death,whatever\n"
    )
    (case,) = read(tmp_path, text)
    assert case.pattern_votes == {"consensus": Pattern.MIXED}
    assert case.antibodies["mda5"].status is AntibodyStatus.POSITIVE
    assert case.antibodies["mda5"].grade == 3
    assert case.antibodies["jo1"].status is AntibodyStatus.NOT_TESTED
    assert case.covariates == {"ferritin": pytest.approx(1246), "sex": "male"}
    assert case.outcome is not None
    assert (case.outcome.time_days, case.outcome.event) == (120, "death")


def test_semicolons_byte_order_marks_and_blank_lines_are_read(tmp_path: Path) -> None:
    (case,) = read(tmp_path, "\ufeffcase_id;pattern_a;pattern_b\n\nc1;NSIP;OP\n;;\n")
    assert case.pattern_votes == {"a": Pattern.NSIP, "b": Pattern.OP}
    assert case.patient_id == "c1"
    assert case.outcome is None


def test_an_endpoint_with_columns_of_its_own_is_read_beside_the_usual_one(tmp_path: Path) -> None:
    text = "case_id,time_days,event,rp_ild_time_days,rp_ild_event\nc1,400,alive,20,rp_ild\nc2,30,death,,\n"
    first, second = read(tmp_path, text)
    found = first.outcome_in("rp_ild_event")
    assert found is not None
    assert (found.time_days, found.event) == (20, "rp_ild")
    assert first.outcome_in("event") == first.outcome
    assert second.outcome_in("rp_ild_event") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("case_id,ab_mda6\nc1,positive\n", "unknown antibody 'mda6'"),
        ("case_id,ab_mda5\nc1,yes\n", "row 2, column ab_mda5"),
        ("case_id,time_days,event\nc1,-3,death\n", "negative"),
        ("case_id,time_days,event\nc1,3,\n", "belong together"),
        ("case_id,time_days,event\nc1,3,lost\n", "unknown event 'lost'"),
        ("case_id,extent_ggo_percent\nc1,120\n", "between 0 and 100"),
        ("case_id,grade_fibrosis\nc1,2.5\n", "column grade_fibrosis: expected a grade, a whole number"),
        ("case_id,grade_fibrosis\nc1,-1\n", "found -1"),
        ("case_id\nc1\nc1\n", "stands 2 times"),
        ("case_id\n../x\n", "letters, digits"),
        ("case_id,ferritin\nc1,3\n", "must say its unit"),
        ("case_id,ferritin_ng_ml,ferritin_pmol_l\nc1,3,4\n", "two units"),
        ("case_id,fvc_percent\nc1,750\n", "not possible"),
        ('case_id,fvc_percent\nc1,"75,5"\n', "point for decimals"),
        ("case_id,crp_mg_dl,crp_day\nc1,3,5\n", "after the index CT"),
        ("case_id,patern\nc1,NSIP\n", "'patern' is not known"),
        ("case_id,pattern,pattern_a\nc1,NSIP,OP\n", "keep one form"),
        ("case_id,case_id\nc1,c1\n", "stands twice"),
        ("patient_id\np1\n", "'case_id' is missing"),
        ("case_id,pattern\nc1,IPF-like\n", "unknown pattern"),
        ("case_id,site\nc1,a,b\n", "3 cells for 2 columns"),
        ('case_id,site\nc1,"a\nc2,b\nc3,c\n', "row 2: a quote"),
        ('case_id,site\n# note\nc1,a\nc2,"b"c\n', "row 4: a quote"),
        ("case_id,patterns\nc1,NSIP\n", "'patterns' is not known"),
        ("case_id,pattern2\nc1,NSIP\n", "'pattern2' is not known"),
        ("", "is empty"),
    ],
)
def test_each_problem_is_named_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems_of(tmp_path, text)


def test_a_cell_over_two_lines_keeps_the_numbers_of_later_rows(tmp_path: Path) -> None:
    text = 'case_id,site,ab_mda5\nc1,"two\nlines",positive\nc2,a,maybe\n'
    assert "row 4, column ab_mda5" in problems_of(tmp_path, text)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    text = "case_id,ab_mda5,age_years\nc1,maybe,200\nc2,positive,old\n"
    assert "3 problem(s)" in problems_of(tmp_path, text)


def test_the_template_reads_back_as_an_empty_table(tmp_path: Path) -> None:
    text = template_text(load_antibody_vocabulary(), load_covariate_vocabulary(), load_endpoint("course"))
    assert read(tmp_path, text) == ()
    assert "ferritin_ng_ml" in text


def test_extents_that_readers_scored_are_kept(tmp_path: Path) -> None:
    text = "case_id,extent_ggo_percent,extent_consolidation_percent\nc1,12.5,\nc2,,3\n"
    assert [dict(case.extents_percent) for case in read(tmp_path, text)] == [
        {"extent_ggo_percent": 12.5},
        {"extent_consolidation_percent": 3.0},
    ]


def test_grades_of_any_name_are_kept(tmp_path: Path) -> None:
    text = "case_id,grade_fibrosis,grade_crazy_paving\nc1,2,\nc2,0,1\n"
    assert [dict(case.grades) for case in read(tmp_path, text)] == [
        {"grade_fibrosis": 2},
        {"grade_fibrosis": 0, "grade_crazy_paving": 1},
    ]
