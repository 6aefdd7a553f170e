from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from domain.affine import Affine

FLIPS_AND_PERMUTATIONS = [
    (permutation, signs)
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("permutation", "signs"), FLIPS_AND_PERMUTATIONS)
def test_orientation_agrees_with_nibabel_for_all_48(permutation: tuple[int, ...], signs: tuple[int, ...]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([0.7, 0.8, 2.5])[:, list(permutation)] * signs
    affine = Affine(matrix)
    assert affine.orientation == "".join(nibabel.aff2axcodes(matrix))
    assert affine.spacing_mm == pytest.approx(np.array([0.7, 0.8, 2.5])[list(permutation)])


def test_an_oblique_affine_keeps_its_spacing_and_volume() -> None:
    angle = np.deg2rad(20)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag([0.5, 0.5, 2.0])
    affine = Affine(matrix)
    assert affine.spacing_mm == pytest.approx((0.5, 0.5, 2.0))
    assert affine.voxel_volume_mm3 == pytest.approx(0.5)
    assert affine.orientation == "RAS"


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1])])
def test_what_is_no_affine_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        Affine(matrix)
