from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domain.affine import Affine
from reports.pictures import EVIDENCE_RGB, OUTLINE_RGB, write_case_pictures

SPACING = (2.0, 2.0, 3.0)


def chest() -> tuple[np.ndarray, np.ndarray]:
    """RAS: right lung (higher i) full of air, left lung denser, a bright mark at the front (higher j)."""
    voxels = np.full((60, 50, 40), 40, np.int16)
    mask = np.zeros(voxels.shape, np.uint8)
    mask[35:55, 10:40, 5:35] = 1
    mask[5:25, 10:40, 5:35] = 2
    voxels[mask == 1] = -950
    voxels[mask == 2] = -600
    voxels[:, 40:, :] = 100
    return voxels, mask


def picture(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO((folder / name).read_bytes())).convert("RGB")).astype(int)


def first_panel(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, : (pixels.shape[1] - 8) // 3]


def test_the_right_lung_is_on_the_left_and_the_front_is_up(tmp_path: Path) -> None:
    voxels, mask = chest()
    write_case_pictures(voxels, Affine.from_spacing(SPACING), mask, None, tmp_path, stem="a")
    panel = first_panel(picture(tmp_path, "a_axial.png"))[:, :, 0]
    height, width = panel.shape
    middle = panel[height // 2]
    assert np.median(middle[: width // 3]) < np.median(middle[2 * width // 3 :])  # the darker, right lung
    assert panel[2, width // 2] >= panel[-3, width // 2]  # the brighter front


def test_a_scan_stored_in_another_order_gives_the_same_picture(tmp_path: Path) -> None:
    voxels, mask = chest()
    affine = Affine.from_spacing(SPACING)
    write_case_pictures(voxels, affine, mask, None, tmp_path, stem="ras")
    turned = voxels[::-1, ::-1, :].transpose(2, 1, 0)
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = 3.0, -2.0, -2.0, 1.0
    matrix[:3, 3] = (59 * 2.0, 49 * 2.0, 0.0)
    turned_mask = mask[::-1, ::-1, :].transpose(2, 1, 0)
    write_case_pictures(turned, Affine(matrix), turned_mask, None, tmp_path, stem="lps")
    for name in ("axial", "coronal"):
        assert np.array_equal(picture(tmp_path, f"ras_{name}.png"), picture(tmp_path, f"lps_{name}.png"))


def test_the_mask_is_outlined(tmp_path: Path) -> None:
    voxels, mask = chest()
    write_case_pictures(voxels, Affine.from_spacing(SPACING), mask, None, tmp_path, stem="a")
    assert (picture(tmp_path, "a_axial.png") == OUTLINE_RGB).all(axis=2).sum() > 200
    write_case_pictures(voxels, Affine.from_spacing(SPACING), None, None, tmp_path, stem="b")
    assert not (picture(tmp_path, "b_axial.png") == OUTLINE_RGB).all(axis=2).any()


def test_evidence_on_a_coarse_grid_of_its_own_lands_where_it_belongs(tmp_path: Path) -> None:
    voxels, mask = chest()
    evidence = np.zeros((6, 5, 4), np.float32)
    evidence[4, :, :] = 1  # the patient's right
    captions = write_case_pictures(
        voxels,
        Affine.from_spacing(SPACING),
        mask,
        evidence,
        tmp_path,
        stem="a",
        evidence_affine=Affine.from_spacing((20.0, 20.0, 30.0), (9.0, 9.0, 13.5)),
    )
    assert set(captions) == {"a_axial.png", "a_coronal.png", "a_evidence.png", "a_coronal_evidence.png"}
    plain, overlaid = first_panel(picture(tmp_path, "a_axial.png")), first_panel(picture(tmp_path, "a_evidence.png"))
    changed = np.abs(plain - overlaid).sum(axis=(0, 2))
    half = changed.size // 2
    assert changed[:half].sum() > 20 * max(1, changed[half:].sum())
    assert len(EVIDENCE_RGB) == 3


def test_evidence_of_another_shape_without_its_place_is_refused(tmp_path: Path) -> None:
    voxels, mask = chest()
    with pytest.raises(ValueError, match="needs its affine"):
        write_case_pictures(
            voxels, Affine.from_spacing(SPACING), mask, np.ones((2, 2, 2), np.float32), tmp_path, stem="a"
        )


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    voxels, mask = chest()
    for stem in ("a", "b"):
        write_case_pictures(voxels, Affine.from_spacing(SPACING), mask, None, tmp_path, stem=stem)
    assert (tmp_path / "a_axial.png").read_bytes() == (tmp_path / "b_axial.png").read_bytes()
