"""Planted defects of content: what the pixels are is not what they should be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.phantoms.series_editor import EditableSeries

LUNG_LEFT = 0.15  # share of the lungs that stays aerated
LUNG_BELOW_HU = -350
BLOOD_HU = (22, 75)
ENHANCEMENT_HU = 150
EXPIRATION_HU = 170
PADDING_HU = -2000


def contrast_enhanced(series: EditableSeries, rng: np.random.Generator) -> None:
    """Bright blood in heart and great vessels, and the agent in the header."""

    def enhance(hu: NDArray[np.int32]) -> NDArray[np.int32]:
        rows, columns = hu.shape
        smooth = ndimage.uniform_filter(hu.astype(float), 3)
        blood = (smooth > BLOOD_HU[0]) & (smooth < BLOOD_HU[1])
        central = np.zeros(hu.shape, bool)
        central[rows // 3 : 2 * rows // 3, 3 * columns // 8 : 5 * columns // 8] = True
        return np.where(blood & central, hu + ENHANCEMENT_HU, hu).astype(np.int32)

    series.change_pixels(enhance)
    series.set_all(ContrastBolusAgent="SYNTHETIC AGENT 370", ContrastBolusRoute="IV")
    series.save()


def expiratory(series: EditableSeries, rng: np.random.Generator) -> None:
    """Dense lungs, and expiration in the series description."""

    def exhale(hu: NDArray[np.int32]) -> NDArray[np.int32]:
        lung = _lung_pixels(hu)
        return np.where(lung, np.minimum(hu + EXPIRATION_HU, LUNG_BELOW_HU), hu).astype(np.int32)

    series.change_pixels(exhale)
    series.set_all(SeriesDescription="THORAX EXPIRATION HRCT")
    series.save()


def not_hu(series: EditableSeries, rng: np.random.Generator) -> None:
    """Grey values that start at 0, without rescale tags: an export that lost its calibration."""
    for part in series.slices:
        hu = part.hu()
        part.data.PixelRepresentation, part.data.BitsStored, part.data.HighBit = 0, 16, 15
        part.data.RescaleIntercept = 0
        part.set_hu(np.clip(hu + 1024, 0, 4095))
        del part.data.RescaleIntercept, part.data.RescaleSlope, part.data.RescaleType
    series.save()


def padding_below_air(series: EditableSeries, rng: np.random.Generator) -> None:
    """Outside the circle of reconstruction stands -2000, below any air."""
    for part in series.slices:
        part.make_signed()
        hu = part.hu()
        rows, columns = np.ogrid[: hu.shape[0], : hu.shape[1]]
        centre = (hu.shape[0] - 1) / 2
        outside = (rows - centre) ** 2 + (columns - centre) ** 2 > (hu.shape[0] / 2) ** 2
        part.set_hu(np.where(outside, PADDING_HU, hu).astype(np.int32))
        part.data.add_new((0x0028, 0x0120), "SS", PADDING_HU)
    series.save()


def not_chest(series: EditableSeries, rng: np.random.Generator) -> None:
    """A head: skull and brain, no lungs."""
    count = len(series.slices)
    for index, part in enumerate(series.slices):
        rows, columns = part.data.Rows, part.data.Columns
        y, x = np.ogrid[:rows, :columns]
        height = 2 * index / max(count - 1, 1) - 1
        reach = max(1 - 0.9 * height**2, 0.05)
        radius = ((y - rows / 2) / (0.36 * rows)) ** 2 + ((x - columns / 2) / (0.28 * columns)) ** 2
        hu = np.full((rows, columns), -1000, np.int32)
        hu[radius < reach] = 900
        hu[radius < reach * 0.8] = 35
        part.set_hu(hu + rng.integers(-12, 13, hu.shape).astype(np.int32))
    series.save()


def mask_failed(series: EditableSeries, rng: np.random.Generator) -> None:
    """No air in the chest at all: both lungs white."""
    series.change_pixels(lambda hu: np.where(_lung_pixels(hu), 30 + hu % 17, hu).astype(np.int32))
    series.save()


def mask_doubtful(series: EditableSeries, rng: np.random.Generator) -> None:
    """Both lungs are white but for their bases: what is found of them is smaller than lungs are."""
    lungs = [_lung_pixels(part.hu()) for part in series.slices]
    filled = np.cumsum([np.count_nonzero(inside) for inside in lungs])
    for part, inside, so_far in zip(series.slices, lungs, filled, strict=True):
        hu = part.hu()
        part.set_hu(np.where(inside & (so_far > LUNG_LEFT * filled[-1]), 30 + hu % 17, hu).astype(np.int32))
    series.save()


def inconsistent_slices(series: EditableSeries, rng: np.random.Generator) -> None:
    """Two slices inside the scan lost their rescale: everything in them is 1,024 HU too dense."""
    middle = len(series.slices) // 2
    for part in series.slices[middle : middle + 2]:
        part.make_signed()
        part.set_hu(part.hu() + 1024)
        part.save()


def not_a_ct_volume(series: EditableSeries, rng: np.random.Generator) -> None:
    """A binary mask in the clothes of a CT."""
    series.set_all(RescaleIntercept=0)
    series.change_pixels(lambda hu: (hu > hu.mean()).astype(np.int32))
    series.save()


def _lung_pixels(hu: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Air inside the body of one slice: low values not connected to the border."""
    low = hu < LUNG_BELOW_HU
    labels, _ = ndimage.label(low)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.asarray(low & ~np.isin(labels, border))
