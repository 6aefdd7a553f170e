"""Every code of the contract can be planted, and really is there afterwards."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_pipeline.phantoms import generate_cohort
from data_pipeline.phantoms.defects import ADDS_BESIDE, DEFECTS, defect_names, plant_defect
from domain.errors import InputError
from domain.findings import QualityCode

DESIGN_CODES = """
not_dicom truncated unreadable no_pixel_data wrong_modality localizer secondary_capture derived_reformat
single_slice too_few_slices matrix_too_small missing_slices uneven_spacing sequential_acquisition gantry_tilt
duplicate_slices repeated_positions mixed_orientation mixed_matrix orientation_unknown not_hu lossy_compressed
unsupported_transfer_syntax missing_uid invalid_uid thick_slices soft_kernel unknown_kernel contrast_enhanced
prone expiratory partial_lung_coverage not_chest padding_below_air mask_failed mask_doubtful not_a_ct_volume
"""


@pytest.fixture(scope="module")
def clean_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_cohort(tmp_path_factory.mktemp("cohort"), num_patients=1, seed=4) / "scans" / "P0001"


@pytest.fixture
def planted(clean_series: Path, tmp_path: Path) -> Callable[[str], Path]:
    def plant(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(clean_series, folder)
        plant_defect(folder, name, np.random.default_rng(5))
        return folder

    return plant


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path, force=True) for path in sorted(folder.glob("*.dcm"))]


def heights(folder: Path) -> np.ndarray:
    return np.sort([float(part.ImagePositionPatient[2]) for part in headers(folder)])


def test_every_code_of_the_contract_can_be_planted() -> None:
    assert set(DESIGN_CODES.split()) <= set(defect_names())


@pytest.mark.parametrize("name", sorted(code.value for code in DEFECTS))
def test_a_planted_defect_changes_the_folder(name: str, planted: Callable[[str], Path], clean_series: Path) -> None:
    before = {path.name: path.read_bytes() for path in clean_series.iterdir()}
    after = {path.name: path.read_bytes() for path in planted(name).iterdir()}
    assert after != before
    if QualityCode(name) in ADDS_BESIDE:
        assert all(after[file] == content for file, content in before.items())


def test_the_same_seed_plants_the_same_bytes(clean_series: Path, tmp_path: Path) -> None:
    contents = []
    for copy in ("one", "two"):
        folder = tmp_path / copy
        shutil.copytree(clean_series, folder)
        plant_defect(folder, "uneven_spacing", np.random.default_rng(1))
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_missing_slices_leave_one_wide_gap(planted: Callable[[str], Path]) -> None:
    gaps = np.diff(heights(planted("missing_slices")))
    assert np.isclose(gaps.max(), 3 * gaps.min(), rtol=1e-3)
    assert (gaps > 1.5 * gaps.min()).sum() == 1


def test_sequential_acquisition_has_gaps_wider_than_its_slices(planted: Callable[[str], Path]) -> None:
    folder = planted("sequential_acquisition")
    assert np.diff(heights(folder)).min() >= 10
    assert {float(part.SliceThickness) for part in headers(folder)} == {1.0}


def test_prone_keeps_every_voxel_at_its_place(planted: Callable[[str], Path], clean_series: Path) -> None:
    one, other = pydicom.dcmread(clean_series / "IM0001.dcm"), pydicom.dcmread(planted("prone") / "IM0001.dcm")
    assert np.array_equal(one.pixel_array, other.pixel_array[::-1, ::-1])
    column, row = float(one.PixelSpacing[1]), float(one.PixelSpacing[0])
    shift = [column * (one.Columns - 1), row * (one.Rows - 1), 0]
    assert np.allclose(np.array(one.ImagePositionPatient) + shift, np.array(other.ImagePositionPatient), atol=1e-3)


def test_thick_slices_average_what_they_replace(planted: Callable[[str], Path], clean_series: Path) -> None:
    folder = planted("thick_slices")
    thick = sorted(headers(folder), key=lambda part: float(part.ImagePositionPatient[2]))
    thin = sorted(headers(clean_series), key=lambda part: float(part.ImagePositionPatient[2]))
    mean = (thin[0].pixel_array.astype(float) + thin[1].pixel_array) / 2
    assert np.abs(thick[0].pixel_array - mean).max() <= 0.5 + 1e-6
    assert float(thick[0].SliceThickness) >= 5


def test_lossy_pixels_are_near_but_not_equal(planted: Callable[[str], Path], clean_series: Path) -> None:
    lossy = pydicom.dcmread(planted("lossy_compressed") / "IM0001.dcm")
    plain = pydicom.dcmread(clean_series / "IM0001.dcm")
    hu = lossy.pixel_array.astype(int) + int(lossy.RescaleIntercept)
    difference = np.abs(hu - (plain.pixel_array.astype(int) + int(plain.RescaleIntercept)))
    assert 0 < difference.max() <= 3


def test_invalid_uid_is_written_as_it_is(planted: Callable[[str], Path]) -> None:
    content = next(planted("invalid_uid").glob("IM*.dcm")).read_bytes()
    assert re.search(rb"\{[0-9a-f-]{36}\}", content)


def test_padding_lies_below_air_outside_the_circle_only(planted: Callable[[str], Path]) -> None:
    part = pydicom.dcmread(next(planted("padding_below_air").glob("IM*.dcm")))
    assert part.pixel_array[0, 0] == -2000
    assert part.pixel_array[part.Rows // 2, part.Columns // 2] > -1100


def test_an_unknown_defect_is_refused_by_name(clean_series: Path) -> None:
    with pytest.raises(InputError, match="no defect is called 'missing_slice'"):
        plant_defect(clean_series, "missing_slice")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no phantom series"):
        plant_defect(tmp_path, "prone")
