"""NIfTI files: geometry and values against nibabel, and everything that is no scan refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_pipeline import read_volume
from domain.errors import StudyError
from domain.findings import QualityCode

SHAPE = (70, 66, 44)


def chest_values() -> np.ndarray:
    x, y, z = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.8) ** 2 < 1
    values = np.where(lungs, -850, np.where(body, 40, -1000))
    return (values + np.random.default_rng(0).normal(0, 15, SHAPE)).astype(np.int16)


def affine(*flips: int) -> np.ndarray:
    matrix = np.diag([-4.5, 4.6, 5.0, 1.0])
    for axis in flips:
        matrix[axis, axis] *= -1
    matrix[:3, 3] = (150, -140, -900)
    return matrix


def save(path: Path, values: np.ndarray, matrix: np.ndarray | None = None, **options: object) -> Path:
    image = options.pop("kind", nibabel.Nifti1Image)(values, affine() if matrix is None else matrix)  # type: ignore[operator]
    for name, value in options.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.int32])
def test_values_and_geometry_are_those_of_nibabel(tmp_path: Path, kind: type, suffix: str, dtype: type) -> None:
    path = save(tmp_path / f"a{suffix}", chest_values().astype(dtype), kind=kind)
    volume = read_volume(path)
    expected = nibabel.load(path)
    assert np.array_equal(volume.voxels, np.maximum(np.rint(expected.get_fdata()), -1024))
    assert np.allclose(volume.affine.matrix, expected.affine, atol=1e-4)


def test_a_qform_alone_gives_the_same_place(tmp_path: Path) -> None:
    rotation = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    matrix = affine(0)
    matrix[:3, :3] = rotation @ matrix[:3, :3]
    image = nibabel.Nifti1Image(chest_values(), None)
    image.set_qform(matrix, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert np.allclose(read_volume(tmp_path / "a.nii.gz").affine.matrix, matrix, atol=1e-3)


def test_nan_outside_the_field_of_view_becomes_air(tmp_path: Path) -> None:
    values = chest_values().astype(np.float32)
    values[:2] = np.nan
    volume = read_volume(save(tmp_path / "a.nii", values))
    assert (volume.voxels[:2] == -1024).all()
    assert QualityCode.PADDING_BELOW_AIR in {finding.code for finding in volume.findings}


def refusal(path: Path) -> QualityCode:
    with pytest.raises(StudyError) as caught:
        read_volume(path)
    return caught.value.code


def test_masks_are_no_scans_whatever_their_type(tmp_path: Path) -> None:
    mask = (chest_values() < -500).astype(np.int16)
    assert refusal(save(tmp_path / "a.nii.gz", mask.astype(np.uint8))) is QualityCode.NOT_A_CT_VOLUME
    assert refusal(save(tmp_path / "b.nii.gz", mask)) is QualityCode.NOT_A_CT_VOLUME
    assert refusal(save(tmp_path / "c.nii.gz", mask.astype(np.float32))) is QualityCode.NOT_A_CT_VOLUME


def test_several_volumes_are_no_scan(tmp_path: Path) -> None:
    four = np.stack([chest_values()] * 2, axis=-1)
    assert refusal(save(tmp_path / "a.nii.gz", four)) is QualityCode.NOT_A_CT_VOLUME


@pytest.mark.parametrize("offset", [1024, -1024], ids=["rescale missing", "rescale twice"])
def test_shifted_values_are_not_hu(tmp_path: Path, offset: int) -> None:
    assert refusal(save(tmp_path / "a.nii.gz", chest_values() + np.int16(offset))) is QualityCode.NOT_HU


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_gzip_is_refused(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "a.nii.gz", chest_values())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert refusal(path) is QualityCode.TRUNCATED


def test_a_cut_plain_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", chest_values())
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path) is QualityCode.TRUNCATED


def test_a_gzip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    header = bytearray(image.header.binaryblock + b"\0\0\0\0")
    header[40:56] = np.array([3, 16000, 16000, 16000, 1, 1, 1, 1], dtype="<i2").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(header) + bytes(1 << 20)))
    assert refusal(tmp_path / "a.nii.gz") in {QualityCode.TOO_LARGE, QualityCode.TRUNCATED}
