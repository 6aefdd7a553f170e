"""Other people's programs read the series, without complaint and with our geometry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from data_pipeline.phantoms import generate_cohort
from tests.inference import orthanc


@pytest.fixture(scope="module", params=["none", "jpegls"])
def cohort(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom") / "cohort"
    return generate_cohort(folder, num_patients=4, seed=33, compression=request.param)


@pytest.fixture(scope="module")
def prone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A varied cohort whose second patient lies face down."""
    folder = tmp_path_factory.mktemp("varied") / "cohort"
    return generate_cohort(folder, num_patients=2, seed=8, protocol="varied")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def sitk_volume(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_dciodvfy_finds_no_error(cohort: Path) -> None:
    program = tool("dciodvfy")
    for folder in (cohort / "scans").iterdir():
        for path in sorted(folder.iterdir())[:3]:
            answer = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
            lines = [line for line in (answer.stdout + answer.stderr).splitlines() if line.startswith("Error")]
            assert lines == []
            assert "CTImage" in answer.stderr


def test_dcmtk_parses_every_file(cohort: Path) -> None:
    program = tool("dcmdump")
    files = [str(path) for path in (cohort / "scans" / "P0001").iterdir()]
    answer = subprocess.run([program, "-q", *files], capture_output=True, text=True, check=False)
    assert answer.returncode == 0
    assert answer.stderr == ""


def test_dcm2niix_makes_one_volume_with_our_voxels(cohort: Path, tmp_path: Path) -> None:
    program = tool("dcm2niix")
    folder = cohort / "scans" / "P0002"
    command = [program, "-b", "n", "-z", "n", "-f", "scan", "-o", str(tmp_path), str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if "recompile dcm2niix" in answer.stdout + answer.stderr:
        pytest.skip("this dcm2niix was built without JPEG-LS")
    assert answer.returncode == 0
    assert "Warning" not in answer.stdout
    files = list(tmp_path.glob("*.nii"))
    assert len(files) == 1
    converted = nib.as_closest_canonical(nib.load(files[0]))
    image = sitk_volume(folder)
    ours = sitk.GetArrayFromImage(image).transpose(2, 1, 0)[::-1, ::-1]
    assert np.array_equal(np.asarray(converted.dataobj), ours)
    assert np.allclose(converted.header.get_zooms(), image.GetSpacing(), atol=1e-3)


def test_simpleitk_and_the_truth_mask_agree_on_place(cohort: Path) -> None:
    image = sitk_volume(cohort / "scans" / "P0001")
    mask = sitk.ReadImage(str(cohort / "truth" / "masks" / "P0001_lungs.nii.gz"))
    assert image.GetSize() == mask.GetSize()
    assert np.allclose(image.GetSpacing(), mask.GetSpacing(), atol=1e-3)
    assert np.allclose(image.GetOrigin(), mask.GetOrigin(), atol=1e-2)
    hu, lungs = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask)
    assert hu[lungs > 0].mean() < -500 < hu[(lungs == 0) & (hu > -500)].mean()


def test_file_names_do_not_follow_the_slices(cohort: Path) -> None:
    files = sorted((cohort / "scans" / "P0001").iterdir())
    heights = [float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]) for path in files]
    assert heights != sorted(heights)
    assert heights != sorted(heights, reverse=True)
    gaps = np.diff(sorted(heights))
    assert gaps == pytest.approx(np.full(len(gaps), gaps[0]), abs=1e-4)


def test_vendors_write_pixels_in_their_own_way_but_the_same_hounsfield_units(cohort: Path) -> None:
    habits = set()
    for folder in (cohort / "scans").iterdir():
        part = pydicom.dcmread(next(folder.iterdir()))
        habits.add((part.Manufacturer, part.PixelRepresentation, part.BitsStored, int(part.RescaleIntercept)))
        hu = part.pixel_array.astype(int) + int(part.RescaleIntercept)
        assert np.median(hu[:3, :3]) == pytest.approx(-1000, abs=40)
    assert len(habits) >= 2


def test_nothing_in_the_header_looks_like_a_real_person(cohort: Path) -> None:
    part = pydicom.dcmread(next((cohort / "scans" / "P0001").iterdir()))
    assert str(part.PatientName).startswith("PHANTOM^")
    assert part.InstitutionName == "SYNTHETIC"
    assert part.PatientBirthDate == ""


def test_a_prone_scan_keeps_the_patient_the_right_way_round(prone: Path) -> None:
    found = 0
    for folder in sorted((prone / "scans").iterdir()):
        if pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).PatientPosition != "HFP":
            continue
        found += 1
        image = sitk_volume(folder)
        mask = sitk.ReadImage(str(prone / "truth" / "masks" / f"{folder.name}_lungs.nii.gz"))
        placed = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        lungs, hu = sitk.GetArrayFromImage(placed) > 0, sitk.GetArrayFromImage(image)
        original = sitk.GetArrayFromImage(mask) > 0
        assert lungs.sum() == pytest.approx(original.sum(), rel=0.01)
        assert np.median(hu[lungs]) < -600
    assert found, "no prone patient in the cohort: take another seed"


def test_orthanc_stores_every_file_as_one_series_per_patient(cohort: Path, tmp_path: Path) -> None:
    if not orthanc.is_installed():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")
    scans = [cohort / "scans" / name for name in ("P0001", "P0002")]
    with orthanc.running(tmp_path / "orthanc") as server:
        sent = sum(server.upload(folder) for folder in scans)
        counts = server.call("/statistics")
        assert counts["CountInstances"] == sent
        assert counts["CountSeries"] == counts["CountStudies"] == counts["CountPatients"] == 2
        for series in server.call("/series"):
            facts = server.call(f"/series/{series}")["MainDicomTags"]
            assert facts["Modality"] == "CT"
        instance = server.call("/instances")[0]
        assert server.call(f"/instances/{instance}/simplified-tags")["PatientName"].startswith("PHANTOM^")
