"""Orientation: all 48 flips and permutations of an asymmetric phantom, by NIfTI and by DICOM rules."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from data_pipeline.transforms.orient_ras import to_ras
from domain.affine import Affine

ORIENTATIONS = [(order, flips) for order in permutations(range(3)) for flips in product((1, -1), repeat=3)]
SPACING = (0.7, 0.9, 2.5)


def asymmetric() -> tuple[np.ndarray, Affine]:
    """Every voxel different, every axis of another length and spacing; RAS."""
    voxels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    return voxels, Affine.from_spacing(SPACING, (-11.0, 7.0, 100.0))


def stored_as(order: tuple[int, ...], flips: tuple[int, ...]) -> tuple[np.ndarray, Affine]:
    """The same patient, stored with permuted and flipped axes."""
    voxels, affine = asymmetric()
    columns = affine.matrix[:3, list(order)] * flips
    stored = voxels.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    first = [0 if flip > 0 else size - 1 for flip, size in zip(flips, stored.shape, strict=True)]
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    matrix[:3, 3] = affine.matrix[:3, 3] - columns @ np.array(first)
    return stored, Affine(matrix)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_every_axis_order_comes_back_as_the_same_patient(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    expected, affine = asymmetric()
    stored, stored_affine = stored_as(order, flips)
    voxels, turned = to_ras(stored, stored_affine)
    assert np.array_equal(voxels, expected)
    np.testing.assert_allclose(turned.matrix, affine.matrix, atol=1e-12)
    assert turned.orientation == "RAS"


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_nibabel_agrees_on_every_axis_order(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    stored, stored_affine = stored_as(order, flips)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(stored, stored_affine.matrix))
    voxels, turned = to_ras(stored, stored_affine)
    assert np.array_equal(voxels, np.asarray(canonical.dataobj))
    np.testing.assert_allclose(turned.matrix, canonical.affine, atol=1e-6)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_simpleitk_agrees_in_dicom_coordinates(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    stored, stored_affine = stored_as(order, flips)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ stored_affine.matrix
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(stored.transpose(2, 1, 0)))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    oriented = SimpleITK.DICOMOrient(image, "RAS")
    voxels, turned = to_ras(stored, stored_affine)
    assert np.array_equal(voxels, SimpleITK.GetArrayFromImage(oriented).transpose(2, 1, 0))
    np.testing.assert_allclose(turned.origin_mm, np.array(oriented.GetOrigin()) * (-1, -1, 1), atol=1e-9)


def test_an_oblique_volume_goes_to_the_nearest_axes_and_keeps_its_places() -> None:
    angle = np.deg2rad(12)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    stored, affine = stored_as((1, 0, 2), (-1, 1, -1))
    matrix = np.array(affine.matrix)
    matrix[:3, :3] = rotation @ matrix[:3, :3]
    voxels, turned = to_ras(stored, Affine(matrix))
    value = stored[2, 1, 3]
    place = matrix @ np.array([2, 1, 3, 1])
    index = np.argwhere(voxels == value)[0]
    np.testing.assert_allclose(turned.matrix @ np.array([*index, 1]), place, atol=1e-9)
    assert turned.orientation == "RAS"


def test_turning_copies_nothing() -> None:
    stored, affine = stored_as((2, 0, 1), (-1, -1, 1))
    assert np.shares_memory(to_ras(stored, affine)[0], stored)


def test_the_same_scan_as_dicom_and_nifti_is_the_same_in_ras(real_data: Path) -> None:
    nifti = nibabel.load(real_data / "chest_nifti/ibsi1_pat1/image.nii.gz")
    reader = SimpleITK.ImageSeriesReader()
    folder = real_data / "chest_dicom/ibsi1_pat1"
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    from_dicom = to_ras(
        SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.int16), Affine(np.diag([-1.0, -1, 1, 1]) @ lps)
    )
    from_nifti = to_ras(np.asarray(nifti.dataobj).astype(np.int16), Affine(nifti.affine))
    assert np.array_equal(from_dicom[0], from_nifti[0])
    np.testing.assert_allclose(from_dicom[1].matrix, from_nifti[1].matrix, atol=1e-3)
