"""Which series wins, and that the reason is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from data_pipeline import find_series
from data_pipeline.__main__ import main
from data_pipeline.description_words import names_other_region
from data_pipeline.dicom_images import SharedFacts
from data_pipeline.quality import load_kernel_table
from data_pipeline.selection import SelectionOverrides, select_series
from domain.findings import Decision, Finding, QualityCode, Severity
from domain.records import SeriesRef, SeriesTable, SourceIdentity
from domain.volume import KernelClass

MakeSeries = Callable[..., list[Path]]
SHARP = SeriesTable(300, 300, 512, 512, 0.7, 0.7, 1.0, 1.0, "B70f", "HFS", None, "SIEMENS")


def series(key: str, table: SeriesTable = SHARP, codes: tuple[QualityCode, ...] = (), **options: object) -> SeriesRef:
    findings = tuple(Finding(code, Severity.WARN, code.value) for code in codes)
    own = SeriesRef(key, "study", "dicom", (key,), table, findings, identity=SourceIdentity(path=f"/scans/{key}"))
    return replace(own, **options)  # type: ignore[arg-type]


def winner(*candidates: SeriesRef, overrides: SelectionOverrides | None = None) -> SeriesRef:
    chosen = [item for item in select_series(candidates, overrides) if item.selected]
    assert len(chosen) == 1
    return chosen[0]


BETTER_FIRST = [
    (series("a"), series("b", codes=(QualityCode.EXPIRATORY,))),
    (series("a"), series("b", codes=(QualityCode.PRONE,))),
    (series("a", replace(SHARP, slice_thickness_mm=5.0, slice_gap_mm=5.0)), series("b", codes=(QualityCode.PRONE,))),
    (series("a"), series("b", codes=(QualityCode.PARTIAL_LUNG_COVERAGE,))),
    (series("a", replace(SHARP, num_slices=250)), series("b", replace(SHARP, num_slices=450), names_other_region=True)),
    (series("a", codes=(QualityCode.EXPIRATORY,)), series("b", names_other_region=True)),
    (series("a"), series("b", codes=(QualityCode.SEQUENTIAL_ACQUISITION,))),
    (series("a"), series("b", replace(SHARP, slice_thickness_mm=5.0, slice_gap_mm=5.0))),
    (series("a"), series("b", replace(SHARP, kernel="B30f"))),
    (series("a", replace(SHARP, slice_thickness_mm=1.5)), series("b", replace(SHARP, kernel="B30f"))),
    (series("a"), series("b", codes=(QualityCode.CONTRAST_ENHANCED,))),
    (series("a", codes=(QualityCode.CONTRAST_ENHANCED,)), series("b", decision=Decision.REJECT)),
]


@pytest.mark.parametrize(("better", "worse"), BETTER_FIRST)
def test_the_better_series_wins_in_either_order_and_both_say_why(better: SeriesRef, worse: SeriesRef) -> None:
    for order in ((better, worse), (worse, better)):
        result = {item.series_key: item for item in select_series(order)}
        assert result["a"].selected
        assert not result["b"].selected
        assert result["a"].message.startswith("chosen")
        assert result["b"].message.startswith(("not chosen", "rejected"))


def test_one_series_is_chosen_per_study() -> None:
    result = select_series([series("a"), series("b", study_key="other")])
    assert [item.selected for item in result] == [True, True]


def test_a_study_of_rejected_series_has_no_choice() -> None:
    result = select_series([series("a", decision=Decision.REJECT)])
    assert [item.selected for item in result] == [False]


def test_the_user_can_name_exclude_and_prefer() -> None:
    soft = series("soft", replace(SHARP, kernel="B30f"))
    assert winner(series("a"), soft).series_key == "a"
    assert winner(series("a"), soft, overrides=SelectionOverrides(include_series=("soft",))).series_key == "soft"
    assert winner(series("a"), soft, overrides=SelectionOverrides(exclude_series=("/scans/a",))).series_key == "soft"
    assert winner(series("a"), soft, overrides=SelectionOverrides(prefer_pattern="b3[0-9]")).series_key == "soft"


def test_the_preferred_pattern_is_searched_in_the_description(make_series: MakeSeries) -> None:
    make_series("one", uid="1", elements={(0x0008, 0x103E): ("LO", "Thorax 1.0")})
    folder = make_series("two", uid="22", elements={(0x0008, 0x103E): ("LO", "Thorax HiRes")})[0].parent.parent
    for pattern, name in (("hires", "two"), (r"1\.0$", "one"), ("^thorax hires$", "two")):
        found = find_series(folder, overrides=SelectionOverrides(prefer_pattern=pattern))
        assert [Path(item.identity.path).name for item in found if item.selected] == [name]


def test_a_pattern_that_is_none_is_a_wrong_setting(
    make_series: MakeSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "selection.yaml").write_text('prefer_pattern: "(HRCT"\n')
    assert main(["inspect", str(make_series()[0].parent), "--selection", str(tmp_path / "selection.yaml")]) == 2
    assert "prefer_pattern" in capsys.readouterr().err


def test_a_named_series_that_is_rejected_stays_rejected() -> None:
    bad = series("bad", decision=Decision.REJECT)
    assert winner(series("a"), bad, overrides=SelectionOverrides(include_series=("bad",))).series_key == "a"


def test_of_a_study_as_scanned_the_hrct_is_chosen(make_series: MakeSeries) -> None:
    make_series("thin", uid="1")
    make_series("prone", uid="22", patient_position="HFP", elements={(0x0008, 0x103E): ("LO", "HRCT prone")})
    make_series("expiration", uid="333", elements={(0x0008, 0x103E): ("LO", "Thorax exsp.")})
    folder = make_series("soft", uid="4444", elements={(0x0018, 0x1210): ("SH", "SOFT")})[0].parent.parent
    found = find_series(folder)
    assert len(found) == 4
    assert [Path(item.identity.path).name for item in found if item.selected] == ["thin"]


@pytest.mark.parametrize(("description", "body_part"), [("5.0", "ABDOMEN"), ("Bauch 5.0", "CHEST")])
def test_a_short_chest_is_chosen_before_a_tall_abdomen(
    make_series: MakeSeries, description: str, body_part: str
) -> None:
    abdomen = {(0x0008, 0x103E): ("LO", description), (0x0018, 0x0015): ("CS", body_part)}
    chest = {(0x0008, 0x103E): ("LO", "Thorax 1.25"), (0x0018, 0x1030): ("LO", "Thorax Abdomen")}
    make_series("chest", uid="1", elements=chest)
    folder = make_series("abdomen", uid="22", spacing_mm=(16.0, 5.0, 5.0), elements=abdomen)[0].parent.parent
    found = {Path(item.identity.path).name: item for item in find_series(folder)}
    assert (found["chest"].selected, found["abdomen"].selected) == (True, False)
    assert "another part of the body" in found["abdomen"].message


@pytest.mark.parametrize(
    ("description", "body_part", "protocol", "expected"),
    [
        ("Abdomen 5.0 B30f", "CHEST", "Thorax/Abdomen", True), ("Thorax Abdomen 5.0", "ABDOMEN", "", False),
        ("1.0 B70f", "ABDOMEN", "Thorax HRCT", False), ("1.0 B70f", "ABDOMEN", "Routine", True),
        ("Lunge 1.0", "NECK", "", False), ("腹部 5mm", "", "", True), ("胸腹 5mm", "", "", False),
        ("HRCT", "", "", False), ("Schädel nativ", "", "", True), ("pelvic", "CHEST", "", True),
        ("1.0", "CHEST", "", False), ("", "", "", False),
    ],
)  # fmt: skip
def test_another_region_is_told_by_the_nearest_words(
    description: str, body_part: str, protocol: str, *, expected: bool
) -> None:
    shared = SharedFacts(series_description=description, body_part=body_part, protocol=protocol)
    assert names_other_region(shared) is expected


@pytest.mark.parametrize(
    ("vendor", "kernel", "expected"),
    [
        ("SIEMENS", "B70f", KernelClass.SHARP), ("SIEMENS", "B31f", KernelClass.SOFT),
        ("Siemens Healthineers", "Br40d\\3", KernelClass.SOFT), ("SIEMENS", "Bl57d\\2", KernelClass.SHARP),
        ("SIEMENS", "I50f\\3", KernelClass.SHARP), ("SIEMENS", "D40s", KernelClass.SOFT),
        ("GE MEDICAL SYSTEMS", "LUNG", KernelClass.SHARP), ("GE MEDICAL SYSTEMS", "BONEPLUS", KernelClass.SHARP),
        ("GE MEDICAL SYSTEMS", "STANDARD", KernelClass.SOFT), ("Philips", "YB", KernelClass.SHARP),
        ("Philips", "B", KernelClass.SOFT), ("Philips", "L", KernelClass.SHARP),
        ("TOSHIBA", "FC52", KernelClass.SHARP), ("TOSHIBA", "FC07", KernelClass.SOFT),
        ("Canon Medical Systems", "FC86", KernelClass.SHARP), ("UIH", "B_SHARP_B", KernelClass.SHARP),
        ("Somebody", "K42", KernelClass.UNKNOWN), ("GE MEDICAL SYSTEMS", "", KernelClass.UNKNOWN),
    ],
)  # fmt: skip
def test_kernels_are_classed_by_vendor(vendor: str, kernel: str, expected: KernelClass) -> None:
    assert load_kernel_table().classify(vendor, kernel) is expected
