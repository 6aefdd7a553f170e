from __future__ import annotations

import errno
import os
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from runner_workers import act, make_task

from domain.antibodies import AntibodyResult, AntibodyStatus
from domain.records import Case, CaseResult, CaseStatus, StudyTask
from inference.input_digest import input_digest, newest_change
from inference.ledger import DICOM, DICOM_KINDS, Ledger, dicom_digests, read_timings


def recorded(tmp_path: Path) -> tuple[Ledger, StudyTask, str]:
    ledger = Ledger(tmp_path / "out", {"model": "m"})
    task = make_task(tmp_path / "in", "a")
    digest = input_digest(task)
    (tmp_path / "out" / "cases").mkdir(parents=True)
    (tmp_path / "out" / "cases" / "a_axial.png").write_bytes(b"picture")
    result = act(task).model_copy(update={"pictures": {"a_axial.png": "axial"}})
    ledger.record(result, digest)
    return ledger, task, digest


def is_done(ledger: Ledger, task: StudyTask, digest: str) -> bool:
    return ledger.find_done(task.case_key, digest, newest_change(task)) is not None


def test_a_recorded_study_is_done(tmp_path: Path) -> None:
    assert is_done(*recorded(tmp_path))


def test_an_earlier_result_stands_whatever_the_input_but_not_for_another_model(tmp_path: Path) -> None:
    ledger, _, digest = recorded(tmp_path)
    standing = ledger.find_standing("a")
    assert standing is not None
    assert standing.digests["input"] == digest
    assert ledger.find_standing("b") is None
    assert Ledger(ledger.out_dir, {"model": "other"}).find_standing("a") is None
    (ledger.cases_dir / "a_axial.png").unlink()
    assert ledger.find_standing("a") is None


def test_a_study_is_not_done_for_another_input(tmp_path: Path) -> None:
    ledger, task, _ = recorded(tmp_path)
    assert not is_done(ledger, task, "other")


def test_a_result_cut_or_changed_anywhere_is_not_done(tmp_path: Path) -> None:
    ledger, task, digest = recorded(tmp_path)
    path = ledger.path("a")
    whole = path.read_bytes()
    generator = random.Random(0)
    for _ in range(100):
        position = generator.randrange(len(whole) - 1)
        path.write_bytes(whole[:position])
        assert not is_done(ledger, task, digest)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert not is_done(ledger, task, digest)
    path.write_bytes(whole)
    assert is_done(ledger, task, digest)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_study_whose_picture_is_damaged_is_not_done(tmp_path: Path, damage: str) -> None:
    ledger, task, digest = recorded(tmp_path)
    picture = ledger.cases_dir / "a_axial.png"
    picture.write_bytes(b"pictura") if damage == "changed" else picture.unlink()
    assert not is_done(ledger, task, digest)


@pytest.mark.parametrize("name", ["a.json", "a_axial.png"])
def test_a_study_whose_files_the_disk_does_not_give_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ledger, task, digest = recorded(tmp_path)
    read = Path.read_bytes

    def stale(path: Path, *arguments: str, **named: str) -> bytes:
        if path.name == name:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    monkeypatch.setattr(Path, "read_text", lambda path, **named: stale(path).decode())
    assert not is_done(ledger, task, digest)


def wants_dicom(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "out", {"model": "m", DICOM: DICOM_KINDS})


def record_with_dicom(tmp_path: Path) -> tuple[Ledger, StudyTask, str]:
    _, task, digest = recorded(tmp_path)
    ledger, folder = wants_dicom(tmp_path), tmp_path / "out" / "private" / "dicom"
    folder.mkdir(parents=True)
    names = [f"a_{kind}.dcm" for kind in ("sr", "seg")]
    for name in names:
        (folder / name).write_bytes(name.encode())
    ledger.record(act(task).model_copy(update={"digests": dicom_digests(names)}), digest)
    return ledger, task, digest


def test_a_study_without_dicom_results_is_not_done_once_they_are_wanted(tmp_path: Path) -> None:
    ledger, task, digest = recorded(tmp_path)
    assert not is_done(wants_dicom(tmp_path), task, digest)
    assert is_done(ledger, task, digest)


def test_a_study_that_can_have_no_dicom_result_is_done_all_the_same(tmp_path: Path) -> None:
    _, task, digest = recorded(tmp_path)
    wants_dicom(tmp_path).record(act(task), digest)
    assert is_done(wants_dicom(tmp_path), task, digest)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_study_whose_dicom_result_is_damaged_is_done_only_without(tmp_path: Path, damage: str) -> None:
    ledger, task, digest = record_with_dicom(tmp_path)
    assert is_done(ledger, task, digest)
    report = tmp_path / "out" / "private" / "dicom" / "a_sr.dcm"
    report.write_bytes(b"cut") if damage == "changed" else report.unlink()
    assert not is_done(ledger, task, digest)
    assert is_done(Ledger(tmp_path / "out", {"model": "m"}), task, digest)


def test_dicom_results_of_an_earlier_result_are_removed_with_it(tmp_path: Path) -> None:
    ledger, task, digest = record_with_dicom(tmp_path)
    other = tmp_path / "out" / "private" / "dicom" / "a_b_sr.dcm"
    other.write_bytes(b"of case a_b")
    ledger.record(act(task).model_copy(update={"digests": dicom_digests(["a_seg.dcm"])}), digest)
    assert sorted(path.name for path in other.parent.iterdir()) == ["a_b_sr.dcm", "a_seg.dcm"]
    ledger.record(CaseResult(case_key="a", status=CaseStatus.REJECTED), digest)
    assert [path.name for path in other.parent.iterdir()] == ["a_b_sr.dcm"]


def test_a_dicom_result_that_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    _, task, digest = recorded(tmp_path)
    ledger = wants_dicom(tmp_path)
    ledger.record(act(task).model_copy(update={"digests": dicom_digests(["a_sr.dcm"])}), digest)
    assert not is_done(ledger, task, digest)


def test_a_file_changed_after_its_result_is_run_again_even_with_equal_samples(tmp_path: Path) -> None:
    ledger, task, digest = recorded(tmp_path)
    later = ledger.path("a").stat().st_mtime + 10
    os.utime(task.series.files[0], (later, later))
    assert not is_done(ledger, task, digest)


def test_the_input_digest_reads_an_archive_in_a_folder_with_the_member_sign(tmp_path: Path) -> None:
    (tmp_path / "new!").mkdir()
    with zipfile.ZipFile(tmp_path / "new!" / "scan.zip", "w") as archive:
        archive.writestr("1.dcm", b"image")
    task = make_task(tmp_path, "a")
    packed = StudyTask("a", replace(task.series, files=(str(tmp_path / "new!" / "scan.zip!1.dcm"),)))
    assert input_digest(packed) != input_digest(task)
    assert newest_change(packed) == (tmp_path / "new!" / "scan.zip").stat().st_mtime


def test_the_input_digest_sees_content_and_antibodies_but_not_the_file_name(tmp_path: Path) -> None:
    first = input_digest(make_task(tmp_path, "a"))
    moved = make_task(tmp_path, "b")
    assert input_digest(moved) == first
    assert input_digest(make_task(tmp_path, "a", "ok!")) != first
    case = Case("a", "p", antibodies={"mda5": AntibodyResult(AntibodyStatus.POSITIVE)})
    assert input_digest(StudyTask("b", moved.series, case)) != first


def test_another_series_of_the_study_that_comes_or_changes_is_another_input(tmp_path: Path) -> None:
    task = make_task(tmp_path, "a")
    other = make_task(tmp_path, "b", "the second choice").series
    with_other = replace(task, series=replace(task.series, alternatives=(other,)))
    before = input_digest(with_other)
    assert before != input_digest(task)
    Path(other.files[0]).write_text("another second choice", encoding="utf-8")
    assert input_digest(with_other) != before
    later = Path(task.series.files[0]).stat().st_mtime + 10
    os.utime(other.files[0], (later, later))
    assert newest_change(with_other) == pytest.approx(later)


def test_timings_survive_a_torn_last_line(tmp_path: Path) -> None:
    ledger, _, _ = recorded(tmp_path)
    with (tmp_path / "out" / "private" / "seconds.jsonl").open("a") as stream:
        stream.write('{"case_key": "b", "sec')
    assert read_timings(tmp_path / "out") == {"a": {"network": 0.1}}
    assert next(iter(ledger.read(["a"]))).seconds == {"network": 0.1}


def test_cleaning_takes_half_written_files_only(tmp_path: Path) -> None:
    ledger, task, digest = recorded(tmp_path)
    (ledger.cases_dir / ".b.json.1-2.partial").write_text("half")
    ledger.clean()
    assert sorted(path.name for path in ledger.cases_dir.iterdir()) == ["a.json", "a_axial.png"]
    assert is_done(ledger, task, digest)


def test_status_words_are_those_of_the_contract() -> None:
    assert CaseResult(case_key="a", status=CaseStatus.REJECTED).status.value == "rejected"
