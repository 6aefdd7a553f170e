"""A tilted gantry: the straightened volume shows at every place what was there, and keeps the tilt in its facts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from data_pipeline import find_series, read_volume
from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series
from data_pipeline.straightening import cubic_weights, shear_degrees, straighten
from domain.affine import Affine
from domain.errors import StudyError
from domain.findings import Decision, QualityCode

MakeSeries = Callable[..., list[Path]]
SLICES, SIDE, GAP_MM, PIXEL_MM = 40, 80, 6.0, 4.5


def object_hu(places: np.ndarray) -> np.ndarray:
    """A body with two unequal lungs and a spine, edges 4 voxels wide, at RAS places in mm, shape (..., 3)."""
    hu = np.full(places.shape[:-1], -1000.0)
    for height, centre, reach in (
        (1040.0, (0.0, 0.0, 0.0), (150.0, 110.0, 400.0)),
        (-900.0, (-62.0, 5.0, 20.0), (45.0, 60.0, 90.0)),
        (-860.0, (65.0, -8.0, 10.0), (40.0, 50.0, 75.0)),
        (250.0, (5.0, 75.0, 0.0), (22.0, 22.0, 300.0)),
    ):
        radius = np.linalg.norm((places - centre) / reach, axis=-1)
        hu += height / (1 + np.exp((radius - 1) * min(reach) / 8.0))
    return hu


def tilted_series(folder: Path, degrees: float, *, elements: dict | None = None) -> list[Path]:
    """The object as a gantry that leans scans it: slices lean, the table moves level."""
    angle = np.radians(degrees)
    cosines = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    first = np.array([-180.0, -170.0, -110.0])
    k, row, column = np.mgrid[:SLICES, :SIDE, :SIDE].astype(float)
    lps = first + np.stack([
        column * PIXEL_MM,
        row * PIXEL_MM * np.cos(angle),
        row * PIXEL_MM * np.sin(angle) + k * GAP_MM,
    ], axis=-1)  # fmt: skip
    hu = np.rint(object_hu(lps * [-1, -1, 1])).astype(np.int16)
    tags = SeriesTags("TILT", "F", 50.0, ("tilt", degrees), elements=elements or {}, bits_stored=16, is_signed=True)
    geometry = SeriesGeometry(tuple(first), (GAP_MM, PIXEL_MM, PIXEL_MM), 5.0, cosines)  # type: ignore[arg-type]
    return write_series(hu, geometry, tags, folder, np.random.default_rng(1))


def places_of(affine: Affine, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
    return index @ affine.matrix[:3, :3].T + affine.matrix[:3, 3]


@pytest.mark.parametrize("degrees", [15.0, -20.0, 28.0, 2.0])
def test_every_voxel_of_a_straightened_scan_holds_what_is_at_its_place(tmp_path: Path, degrees: float) -> None:
    volume = read_volume(tilted_series(tmp_path / "s", degrees)[0].parent)
    finding = next(item for item in volume.findings if item.code is QualityCode.GANTRY_TILT)
    assert finding.facts["tilt_degrees"] == pytest.approx(abs(degrees), abs=0.01)
    assert shear_degrees(volume.affine) < 1e-3
    assert volume.affine.spacing_mm == pytest.approx(
        (PIXEL_MM, PIXEL_MM, GAP_MM * np.cos(np.radians(degrees))), abs=1e-4
    )
    truth = object_hu(places_of(volume.affine, volume.voxels.shape))
    is_seen = ndimage.binary_erosion(volume.voxels > -1024, iterations=2)  # what no slice covers is air
    assert is_seen.mean() > 0.6
    assert np.abs(volume.voxels - truth)[is_seen].max() < 6  # HU, on edges of 40 HU per voxel
    assert np.abs(volume.voxels - truth)[is_seen].mean() < 0.5


def test_left_alone_the_same_scan_would_be_wrong(tmp_path: Path) -> None:
    """Taken as upright, as its spacing says, the tilted stack is off by tens of HU: the test above can fail."""
    series = find_series(tilted_series(tmp_path / "s", 15.0)[0].parent)[0]
    volume = read_volume(series)
    stored = volume.voxels[:, :SIDE]  # the first slice lies where it was, the others slide away from it
    upright = Affine(np.array(volume.affine.matrix))
    truth = object_hu(places_of(upright, stored.shape))
    slid = np.stack([np.roll(stored[:, :, k], -k // 2, axis=1) for k in range(SLICES)], axis=2)
    assert np.abs(slid - truth).mean() > 20


def test_an_upright_scan_is_not_touched(tmp_path: Path) -> None:
    volume = read_volume(tilted_series(tmp_path / "s", 0.5)[0].parent)
    assert volume.voxels.shape == (SIDE, SIDE, SLICES)
    assert QualityCode.GANTRY_TILT not in {finding.code for finding in volume.findings}


def test_a_whole_number_of_voxels_is_moved_without_a_change() -> None:
    voxels = np.random.default_rng(0).integers(-1000, 500, (6, 7, 5)).astype(np.int16)
    matrix = np.diag([1.0, 1.0, 2.0, 1.0])
    matrix[1, 2] = -1.0  # one voxel along j per slice
    upright, affine = straighten(voxels, Affine(matrix))
    assert upright.shape == (6, 11, 5)
    for k in range(5):
        assert np.array_equal(upright[:, 4 - k : 11 - k, k], voxels[:, :, k])
    assert affine.origin_mm == (0.0, -4.0, 0.0)


def test_a_lean_along_the_rows_is_straightened_too() -> None:
    x, y, z = np.mgrid[:40, :40, :20].astype(float)
    voxels = np.rint(100 * np.sin((x + 0.3 * z) / 6) * np.cos(y / 7)).astype(np.int16)
    matrix = np.eye(4)
    matrix[0, 2] = 0.3
    upright, affine = straighten(voxels, Affine(matrix))
    places = places_of(affine, upright.shape)
    truth = 100 * np.sin(places[..., 0] / 6) * np.cos(places[..., 1] / 7)
    assert np.abs(upright - truth)[8:38, :, :].max() < 2


def test_cubic_weights_add_up_and_keep_straight_lines() -> None:
    for place in (0.0, 0.25, 0.5, 0.9):
        weights = np.array(cubic_weights(place))
        assert weights.sum() == pytest.approx(1.0)
        assert weights @ [-1, 0, 1, 2] == pytest.approx(place)


def test_a_tilt_that_only_the_header_names_is_refused(make_series: MakeSeries) -> None:
    series = find_series(make_series(elements={(0x0018, 0x1120): ("DS", 15)})[0].parent)[0]
    assert series.decision is Decision.REJECT
    assert QualityCode.GANTRY_TILT in series.codes


def test_no_gantry_leans_by_fifty_degrees(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        read_volume(tilted_series(tmp_path / "s", 50.0)[0].parent)


def test_a_sheared_nifti_is_straightened_and_a_skewed_one_refused(make_series: MakeSeries, tmp_path: Path) -> None:
    volume = read_volume(make_series()[0].parent)
    sheared, skewed = np.array(volume.affine.matrix), np.array(volume.affine.matrix)
    sheared[1, 2] += 2.0
    skewed[1, 0] += 2.0
    nibabel.save(nibabel.Nifti1Image(volume.voxels, sheared), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(volume.voxels, skewed), tmp_path / "b.nii.gz")
    upright = read_volume(tmp_path / "a.nii.gz")
    assert upright.voxels.shape == (64, 64 + 10, 24)
    assert QualityCode.GANTRY_TILT in {finding.code for finding in upright.findings}
    with pytest.raises(StudyError) as caught:
        read_volume(tmp_path / "b.nii.gz")
    assert caught.value.code is QualityCode.NO_GEOMETRY


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
def test_dcm2niix_moves_the_slices_alike_but_puts_the_volume_elsewhere(tmp_path: Path) -> None:
    """Its corrected voxels are ours but for its linear interpolation; its origin is that of the other end."""
    folder = tilted_series(tmp_path / "s", 15.0, elements={(0x0018, 0x1120): ("DS", 15)})[0].parent
    volume = read_volume(folder)
    subprocess.run(
        ["dcm2niix", "-z", "n", "-b", "n", "-o", str(tmp_path), str(folder)], capture_output=True, check=False
    )
    found = next(tmp_path.glob("*Tilt*.nii"), None)
    if found is None:
        pytest.skip("this dcm2niix writes no corrected volume")
    theirs = nibabel.as_closest_canonical(nibabel.load(found))
    ours = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.voxels, volume.affine.matrix))
    one, other = np.asarray(ours.dataobj, dtype=float), np.asarray(theirs.dataobj, dtype=float)
    apart = [np.abs(one[:, 10 + step : 70 + step] - other[:, 10:70]).mean() for step in (-1, 0, 1)]
    assert min(apart) < 15
    assert np.allclose(ours.affine[:3, :3], theirs.affine[:3, :3], atol=1e-4)
    is_seen = ndimage.binary_erosion(other > -1023, iterations=2)
    truth = object_hu(places_of(Affine(theirs.affine), other.shape))
    assert np.abs(other - truth)[is_seen].mean() > 100
