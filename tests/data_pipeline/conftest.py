"""Small DICOM series written on the fly; this folder on the path, so that tests share ``synthetic_chests``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series

sys.path.insert(0, str(Path(__file__).resolve().parent))

MakeSeries = Callable[..., list[Path]]


def small_chest(num_slices: int = 24, side: int = 64) -> NDArray[np.int16]:
    """A body with two lungs in air, a little noise; HU, shape (S, R, C)."""
    z, y, x = np.mgrid[-1 : 1 : num_slices * 1j, -1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.8) ** 2 < 1
    values = np.where(lungs, -850, np.where(body, 40, -1000))
    return (values + np.random.default_rng(0).normal(0, 15, values.shape)).astype(np.int16)


@pytest.fixture
def make_series(tmp_path: Path) -> MakeSeries:
    """Writes a series: ``make_series("folder", spacing_mm=..., elements={tag: (vr, value)}, ...)`` -> paths."""

    def make(
        name: str = "series",
        *,
        hu: NDArray[np.int16] | None = None,
        spacing_mm: tuple[float, float, float] = (10.0, 5.0, 5.0),
        thickness_mm: float = 10.0,
        uid: str = "a",
        study: str = "s",
        first_z: float = 0.0,
        elements: dict[tuple[int, int], tuple[str, object]] | None = None,
        bits_stored: int = 12,
        is_signed: bool = False,
        intercept: int = -1024,
        cosines: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
        patient_position: str = "HFS",
    ) -> list[Path]:
        own: dict[tuple[int, int], tuple[str, object]] = {
            (0x0020, 0x000D): ("UI", f"1.2.3.{sum(study.encode())}"),
            (0x0020, 0x000E): ("UI", f"1.2.3.{sum(study.encode())}.{sum(uid.encode())}"),
        }
        tags = SeriesTags(
            "INVENTED",
            "F",
            50.0,
            (name, uid, study),
            elements=own | (elements or {}),  # type: ignore[arg-type]
            bits_stored=bits_stored,
            is_signed=is_signed,
            intercept=intercept,
        )
        geometry = SeriesGeometry((-160.0, -160.0, first_z), spacing_mm, thickness_mm, cosines, patient_position)  # type: ignore[arg-type]
        voxels = small_chest() if hu is None else hu
        return write_series(voxels, geometry, tags, tmp_path / name, np.random.default_rng(3))

    return make
