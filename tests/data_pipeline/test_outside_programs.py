"""The same scans through dcm2niix and dcmtk: equal voxels and geometry wherever those programs are right."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from data_pipeline import find_series, read_volume

MakeSeries = Callable[..., list[Path]]
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the shared real scans are not on this machine")
needs_dcm2niix = pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
needs_dcmtk = pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="dcmtk is not installed")


def canonical(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    return np.asarray(image.dataobj), image.affine


def through_dcm2niix(folder: Path, target: Path) -> list[Path]:
    command = ["dcm2niix", "-z", "n", "-b", "n", "-o", str(target), str(folder)]
    subprocess.run(command, capture_output=True, check=False)
    return sorted(target.glob("*.nii"))


@needs_dcm2niix
@needs_real
@pytest.mark.parametrize("name", [pytest.param("covid_ct_md_P001", marks=pytest.mark.slow), "ibsi1_pat1"])
def test_dcm2niix_gives_the_same_volume(name: str, tmp_path: Path) -> None:
    folder = REAL / "chest_dicom" / name
    other = nibabel.load(through_dcm2niix(folder, tmp_path)[0])
    volume = read_volume(folder)
    ours, our_affine = canonical(volume.voxels, volume.affine.matrix)
    theirs, their_affine = canonical(np.asarray(other.dataobj), other.affine)
    assert np.array_equal(ours, np.maximum(np.rint(theirs), -1024))
    assert np.allclose(our_affine, their_affine, atol=1e-4)


@needs_dcm2niix
@pytest.mark.parametrize("cosines", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, -1, 0)])
def test_every_row_and_column_direction_ends_in_the_same_place(
    make_series: MakeSeries, tmp_path: Path, cosines: tuple[float, ...]
) -> None:
    folder = make_series(cosines=cosines, spacing_mm=(10.0, 5.0, 4.5))[0].parent
    other = nibabel.load(through_dcm2niix(folder, tmp_path)[0])
    volume = read_volume(folder)
    ours, our_affine = canonical(volume.voxels, volume.affine.matrix)
    theirs, their_affine = canonical(np.asarray(other.dataobj), other.affine)
    assert np.array_equal(ours, np.maximum(theirs, -1024))
    assert np.allclose(our_affine, their_affine, atol=1e-4)


@needs_dcm2niix
def test_where_dcm2niix_is_silent_we_refuse(make_series: MakeSeries, tmp_path: Path) -> None:
    """It stacks 22 slices around a hole of two and warns on screen only: the volume is as if nothing were missing."""
    paths = make_series()
    for path in paths[10:12]:
        path.unlink()
    shapes = [nibabel.load(path).shape[2] for path in through_dcm2niix(paths[0].parent, tmp_path)]
    assert 22 in shapes
    assert not any(series.selected for series in find_series(paths[0].parent))


@needs_dcmtk
@needs_real
def test_dcmtk_decodes_jpeg_lossless_to_the_same_values(tmp_path: Path) -> None:
    folder = REAL / "chest_dicom" / "covid_ct_md_P001"
    series = find_series(folder)[0]
    volume = read_volume(series)
    for place in (0, 70, 147):
        subprocess.run(["dcmdjpeg", series.files[place], str(tmp_path / "plain.dcm")], check=True)
        expected = pydicom.dcmread(tmp_path / "plain.dcm").pixel_array.astype(int) - 1024
        assert np.array_equal(volume.voxels[:, :, place].T, np.maximum(expected, -1024))


@needs_dcmtk
@pytest.mark.parametrize(
    ("program", "options"),
    [("dcmcjpeg", ["+e1"]), ("dcmcjpeg", ["+el"]), ("dcmcjpls", []), ("dcmcrle", []), ("dcmconv", ["+te"]),
     ("dcmconv", ["+tb"]), ("dcmconv", ["+ti"]), ("dcmconv", ["+td"])],
    ids=["jpeg lossless sv1", "jpeg lossless", "jpeg-ls", "rle", "explicit", "big endian", "implicit", "deflated"],
)  # fmt: skip
def test_what_dcmtk_encodes_we_read_unchanged(
    make_series: MakeSeries, tmp_path: Path, program: str, options: list[str]
) -> None:
    paths = make_series()
    expected = read_volume(paths[0].parent)
    target = tmp_path / "encoded"
    target.mkdir()
    for path in paths:
        subprocess.run([program, *options, str(path), str(target / path.name)], check=True, capture_output=True)
    assert np.array_equal(read_volume(target).voxels, expected.voxels)
