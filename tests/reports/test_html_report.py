from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from example_results import ALL_KINDS, failed, predicted
from PIL import Image

from reports import html_report

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Balance(HTMLParser):
    """Collects tags that are closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture
def page(tmp_path: Path) -> str:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "case-1_axial.png")
    results = [predicted(pictures={"case-1_axial.png": "Axial", "lost.png": "Lost"}), *ALL_KINDS[1:]]
    facts = {"version": "0.1.0", "seconds per stage": {"read": 1.5}}
    html_report.write(results, facts, tmp_path / "report.html", tmp_path)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_tags_are_closed_in_order(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.wrong == []
    assert parser.open == []


def test_it_says_research_use_and_synthetic_training(page: str) -> None:
    assert "Research use only" in page
    assert "trained on synthetic patients" in page


def test_every_case_has_a_row_and_a_part_of_its_own(page: str) -> None:
    for place in range(1, 5):
        assert f'href="#case-{place}"' in page
        assert f'id="case-{place}"' in page


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_failure_is_told_with_code_and_stage(page: str) -> None:
    assert "<b>decoder crashed</b> (at read)" in page


def test_an_abstention_gives_its_reason(page: str) -> None:
    assert "No answer" in page
    assert "unlike the training scans" in page


def test_missing_inputs_and_the_image_only_case_are_told(page: str) -> None:
    assert "Missing: not tested: Ro52" in page or "Missing: not tested: Anti-Ro52" in page
    assert "from the image alone" in page


def test_one_picture_is_embedded_and_a_lost_one_left_out(page: str) -> None:
    assert page.count("data:image/jpeg;base64") == 1
    assert "lost.png" not in page


def test_an_empty_run_has_a_page_too(tmp_path: Path) -> None:
    html_report.write([], {}, tmp_path / "report.html", tmp_path)
    assert "No study was found" in (tmp_path / "report.html").read_text()


def test_a_run_of_failures_only_has_a_page_too(tmp_path: Path) -> None:
    html_report.write([failed()], {}, tmp_path / "report.html", tmp_path)
    assert "decoder crashed" in (tmp_path / "report.html").read_text()


def test_a_large_archive_stays_a_page_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "MAX_CASES_IN_FULL", 2)
    monkeypatch.setattr(html_report, "MAX_TABLE_ROWS", 3)
    html_report.write((predicted(f"c{i}") for i in range(5)), {}, tmp_path / "report.html", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<article") == 2
    assert "The first 3 of 5 studies are listed" in page
