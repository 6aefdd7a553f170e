from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from example_results import abstained, failed, predicted
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from domain.affine import Affine
from domain.errors import InputError
from domain.records import CaseResult, SeriesRef, SeriesTable
from reports import dicom_results, dicom_seg, dicom_sr

pytest.importorskip("highdicom", reason="the dicom-out extra is not installed")

ROWS, COLUMNS, SLICES = 12, 16, 6
SPACING = (0.8, 0.9, 2.5)  # columns (i), rows (j), slices (k), mm
FIRST_LPS = (-10.0, -20.0, 30.0)


def affine() -> Affine:
    """ijk to RAS of the series below: i runs to the left, j to the back, k up."""
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    matrix[:3, 3] = (-FIRST_LPS[0], -FIRST_LPS[1], FIRST_LPS[2])
    return Affine(matrix)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    study, series, frame, paths = generate_uid(), generate_uid(), generate_uid(), []
    for index in (3, 0, 5, 1, 2, 4):  # files come in any order
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = "P1", "Nobody", "19600101", "F"
        data.Modality, data.StudyDate, data.StudyTime, data.StudyID = "CT", "20240105", "101112", "1"
        data.AccessionNumber, data.ReferringPhysicianName, data.SeriesNumber = "", "", 2
        data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = ROWS, COLUMNS, 16, 16, 15
        data.PixelRepresentation, data.SamplesPerPixel, data.PhotometricInterpretation = 0, 1, "MONOCHROME2"
        data.PixelSpacing, data.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [FIRST_LPS[0], FIRST_LPS[1], FIRST_LPS[2] + index * SPACING[2]]
        data.ImageType, data.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
        data.PositionReferenceIndicator = ""
        data.PixelData = np.zeros((ROWS, COLUMNS), np.uint16).tobytes()
        path = tmp_path / "scan" / f"{index}.dcm"
        path.parent.mkdir(exist_ok=True)
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def mask() -> np.ndarray:
    """Right lung at low i (the patient's right in this frame), left lung at high i; not the same on every slice."""
    lungs = np.zeros((COLUMNS, ROWS, SLICES), np.uint8)
    lungs[2:6, 3:9, 1:5] = 1
    lungs[9:14, 3:9, 2:6] = 2
    return lungs


def complaints(path: Path) -> list[str]:
    """Errors that dciodvfy finds."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dicom3tools (dciodvfy) is not installed")
    answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    return [line for line in answer.stderr.splitlines() if line.startswith("Error")]


def test_a_segmentation_lies_where_the_mask_is(tmp_path: Path, sources: list[Path]) -> None:
    dicom_seg.write(mask(), affine(), sources, tmp_path / "seg.dcm")
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    back = np.zeros_like(mask())
    for frame, place in zip(data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True):
        z = float(place.PlanePositionSequence[0].ImagePositionPatient[2])
        number = place.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        back[:, :, round((z - FIRST_LPS[2]) / SPACING[2])][frame.T > 0] = number
    assert np.array_equal(back, mask())
    assert data.StudyInstanceUID == pydicom.dcmread(sources[0]).StudyInstanceUID


def test_a_structured_report_holds_the_probabilities_and_its_origin(tmp_path: Path, sources: list[Path]) -> None:
    dicom_sr.write(predicted(), sources, tmp_path / "sr.dcm")
    text = str(pydicom.dcmread(tmp_path / "sr.dcm"))
    for wanted in (
        "P_NSIP",
        "0.62",
        "SURV_365D",
        "At 365 days, probability",
        "synthetic patients",
        "Research use only",
        "GGO_PERCENT",
    ):
        assert wanted in text


def test_an_abstention_is_reported_as_one(tmp_path: Path, sources: list[Path]) -> None:
    dicom_sr.write(abstained(), sources, tmp_path / "sr.dcm")
    assert "ABSTAINED" in str(pydicom.dcmread(tmp_path / "sr.dcm"))


def test_the_files_satisfy_an_outside_validator(tmp_path: Path, sources: list[Path]) -> None:
    dicom_sr.write(predicted(), sources, tmp_path / "sr.dcm")
    dicom_seg.write(mask(), affine(), sources, tmp_path / "seg.dcm")
    assert complaints(tmp_path / "sr.dcm") == []
    assert complaints(tmp_path / "seg.dcm") == []


def test_the_same_result_gives_the_same_bytes(tmp_path: Path, sources: list[Path]) -> None:
    for name in ("a", "b"):
        dicom_sr.write(predicted(), sources, tmp_path / f"{name}-sr.dcm")
        dicom_seg.write(mask(), affine(), sources, tmp_path / f"{name}-seg.dcm")
    for kind in ("sr", "seg"):
        assert (tmp_path / f"a-{kind}.dcm").read_bytes() == (tmp_path / f"b-{kind}.dcm").read_bytes()


def test_a_mask_of_another_scan_is_refused(tmp_path: Path, sources: list[Path]) -> None:
    moved = Affine.from_spacing(SPACING)
    with pytest.raises(InputError, match="grid of the mask"):
        dicom_seg.write(mask(), moved, sources, tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="grid of the mask"):
        dicom_seg.write(mask()[:5], affine(), sources, tmp_path / "seg.dcm")


def test_a_mask_whose_axes_run_the_other_way_gives_the_same_segmentation(tmp_path: Path, sources: list[Path]) -> None:
    dicom_seg.write(mask(), affine(), sources, tmp_path / "a.dcm")
    flipped = affine().matrix.copy()
    flipped[:, 0] *= -1
    flipped[:3, 3] = (affine().matrix @ [COLUMNS - 1, 0, 0, 1])[:3]
    dicom_seg.write(mask()[::-1], Affine(flipped), sources, tmp_path / "b.dcm")
    first, second = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(tmp_path / "b.dcm")
    assert np.array_equal(first.pixel_array, second.pixel_array)


@pytest.mark.parametrize("result", [failed()], ids=["failed"])
def test_a_study_without_a_result_has_no_report(tmp_path: Path, sources: list[Path], result: CaseResult) -> None:
    with pytest.raises(InputError, match="no result"):
        dicom_sr.write(result, sources, tmp_path / "sr.dcm")


def series_of(sources: list[Path]) -> SeriesRef:
    return SeriesRef("series", "study", "dicom", tuple(map(str, sources)), SeriesTable(1, SLICES))


def test_both_results_of_a_study_are_written_and_named(tmp_path: Path, sources: list[Path]) -> None:
    names = dicom_results.write(predicted(), mask(), affine(), series_of(sources), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.dcm")) == sorted(names)
    assert [name.removeprefix(predicted().case_key) for name in names] == ["_sr.dcm", "_seg.dcm"]


@pytest.mark.parametrize("error", [AttributeError("no PatientID"), InputError("odd"), TypeError("odd")])
def test_an_odd_header_costs_one_dicom_result_and_nothing_else(
    tmp_path: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(dicom_sr, "write", fail)
    stale = tmp_path / f"{predicted().case_key}_sr.dcm"
    stale.write_bytes(b"of an earlier model")
    names = dicom_results.write(predicted(), mask(), affine(), series_of(sources), tmp_path)
    assert names == (f"{predicted().case_key}_seg.dcm",)
    assert not stale.exists()


def test_a_result_that_the_disk_refused_is_named_but_not_there(
    tmp_path: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(dicom_seg, "write", fail)
    names = dicom_results.write(predicted(), mask(), affine(), series_of(sources), tmp_path)
    assert len(names) == 2
    assert [path.name for path in tmp_path.glob("*.dcm")] == [names[0]]


def test_a_study_that_did_not_come_as_dicom_has_neither(tmp_path: Path) -> None:
    series = SeriesRef("series", "study", "nifti", ("scan.nii.gz",), SeriesTable(1, SLICES))
    assert dicom_results.write(predicted(), mask(), affine(), series, tmp_path) == ()


def test_a_missing_extra_is_told_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_results.require_extra()
    monkeypatch.setattr(dicom_results, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="dicom-out"):
        dicom_results.require_extra()
