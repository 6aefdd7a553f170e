"""Planted defects of geometry: slices lost, doubled, moved, tilted, turned, thickened."""

from __future__ import annotations

import math

import numpy as np

from data_pipeline.phantoms.series_editor import EditableSeries

FEW_SLICES = 6
SMALL_MATRIX = 32
TILT_DEGREES = 12.0
SEQUENTIAL_GAP_MM = 10.0
SEQUENTIAL_THICKNESS_MM = 1.0
THICK_MM = 5.0
COVERED_SHARE = 0.45


def single_slice(series: EditableSeries, rng: np.random.Generator) -> None:
    """One slice is left."""
    series.keep([series.slices[len(series.slices) // 2]])


def too_few_slices(series: EditableSeries, rng: np.random.Generator) -> None:
    """A handful of neighbouring slices is left."""
    start = len(series.slices) // 2
    series.keep(series.slices[start : start + FEW_SLICES])


def matrix_too_small(series: EditableSeries, rng: np.random.Generator) -> None:
    """Thumbnails: 32 rows and columns over the same field of view."""
    for part in series.slices:
        hu = part.hu()
        step = max(hu.shape[0] // SMALL_MATRIX, 1)
        spacing = [float(value) * step for value in part.data.PixelSpacing]
        part.set_hu(np.ascontiguousarray(hu[::step, ::step]))
        part.data.PixelSpacing = [round(value, 6) for value in spacing]
    series.save()


def missing_slices(series: EditableSeries, rng: np.random.Generator) -> None:
    """Two neighbouring slices inside the lungs are gone."""
    count = len(series.slices)
    first = int(rng.integers(count // 3, 2 * count // 3))
    series.keep([part for index, part in enumerate(series.slices) if index not in {first, first + 1}])


def uneven_spacing(series: EditableSeries, rng: np.random.Generator) -> None:
    """A third of the slices sits up to a third of the gap away from its place."""
    gap = series.gap_mm
    for part in series.slices[1:-1]:
        if rng.random() < 1 / 3:
            x, y, z = (float(value) for value in part.data.ImagePositionPatient)
            z += float(rng.choice([-1, 1])) * float(rng.uniform(0.2, 0.33)) * gap
            part.data.ImagePositionPatient = [x, y, round(z, 4)]
            part.data.SliceLocation = round(z, 4)
    series.save()


def sequential_acquisition(series: EditableSeries, rng: np.random.Generator) -> None:
    """Thin slices with gaps: 1 mm every 10 mm or more, nothing in between was scanned."""
    step = max(math.ceil(SEQUENTIAL_GAP_MM / series.gap_mm), 2)
    series.keep(series.slices[::step])
    series.set_all(SliceThickness=SEQUENTIAL_THICKNESS_MM)
    series.save()


def gantry_tilt(series: EditableSeries, rng: np.random.Generator) -> None:
    """The gantry leans by 12 degrees while the table moves along z."""
    angle = math.radians(TILT_DEGREES)
    cosines = [1.0, 0.0, 0.0, 0.0, round(math.cos(angle), 6), round(math.sin(angle), 6)]
    series.set_all(ImageOrientationPatient=cosines, GantryDetectorTilt=TILT_DEGREES)
    series.save()


def duplicate_slices(series: EditableSeries, rng: np.random.Generator) -> None:
    """Three files exist twice, byte for byte, under other names."""
    for number, index in enumerate(rng.choice(len(series.slices), size=3, replace=False)):
        content = series.slices[int(index)].path.read_bytes()
        (series.folder / f"copy{number + 1}.dcm").write_bytes(content)


def repeated_positions(series: EditableSeries, rng: np.random.Generator) -> None:
    """A second phase in the same series: other pixels, other UIDs, the same positions."""
    start = len(series.slices) // 3
    for number, part in enumerate(series.slices[start : start + 8]):
        copy = part.copy_to(series.folder / f"phase{number + 1}.dcm", instance_key="second phase")
        copy.set_hu(copy.hu() + 15)
        copy.save()


def mixed_orientation(series: EditableSeries, rng: np.random.Generator) -> None:
    """A few coronal images carry the UID of the axial series."""
    start = len(series.slices) // 2
    for part in series.slices[start : start + 5]:
        part.data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    series.save()


def mixed_matrix(series: EditableSeries, rng: np.random.Generator) -> None:
    """A few slices were reconstructed with half the rows and columns."""
    start = len(series.slices) // 2
    for part in series.slices[start : start + 5]:
        spacing = [round(float(value) * 2, 6) for value in part.data.PixelSpacing]
        part.set_hu(np.ascontiguousarray(part.hu()[::2, ::2]))
        part.data.PixelSpacing = spacing
    series.save()


def orientation_unknown(series: EditableSeries, rng: np.random.Generator) -> None:
    """No ImageOrientationPatient."""
    series.set_all(ImageOrientationPatient=None)
    series.save()


def no_geometry(series: EditableSeries, rng: np.random.Generator) -> None:
    """Neither position nor orientation."""
    series.set_all(ImageOrientationPatient=None, ImagePositionPatient=None, SliceLocation=None)
    series.save()


def thick_slices(series: EditableSeries, rng: np.random.Generator) -> None:
    """Neighbouring slices are averaged to at least 5 mm: true partial volume."""
    gap = series.gap_mm
    size = max(math.ceil(THICK_MM / gap), 2)
    kept = []
    for start in range(0, len(series.slices) - size + 1, size):
        group = series.slices[start : start + size]
        mean = np.mean([part.hu() for part in group], axis=0)
        z = float(np.mean([part.height_mm for part in group]))
        target = group[0]
        target.set_hu(np.rint(mean).astype(np.int32))
        x, y, _ = (float(value) for value in target.data.ImagePositionPatient)
        target.data.ImagePositionPatient = [x, y, round(z, 4)]
        target.data.SliceLocation = round(z, 4)
        target.data.SliceThickness = round(size * gap, 4)
        kept.append(target)
    series.keep(kept)
    series.save()


def prone(series: EditableSeries, rng: np.random.Generator) -> None:
    """The patient lies face down: the scanner's rows and columns run the other way through the patient."""
    for part in series.slices:
        hu = part.hu()
        x, y, z = (float(value) for value in part.data.ImagePositionPatient)
        row, column = (float(value) for value in part.data.PixelSpacing)
        far = [x + column * (hu.shape[1] - 1), y + row * (hu.shape[0] - 1), z]
        part.set_hu(np.ascontiguousarray(hu[::-1, ::-1]))
        part.data.ImagePositionPatient = [round(value, 6) for value in far]
        part.data.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        part.data.PatientPosition = "HFP"
    series.save()


def partial_lung_coverage(series: EditableSeries, rng: np.random.Generator) -> None:
    """The scan stops in the middle of the lungs."""
    series.keep(series.slices[: max(int(len(series.slices) * COVERED_SHARE), 2)])
