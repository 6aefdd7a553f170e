"""Writes a finished scan: DICOM series with the vendor's habits, and the truth masks. Here the frame becomes LPS."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from data_pipeline.phantoms.acquisition import AcquisitionPlan, vendor_of
from data_pipeline.phantoms.dicom_writer import Compression, SeriesGeometry, SeriesTags, Tag, Value, write_series
from data_pipeline.phantoms.scan import Scan

Elements = dict[Tag, tuple[str, Value | None]]


def series_elements(plan: AcquisitionPlan) -> Elements:
    """What this vendor writes for this acquisition."""
    vendor = vendor_of(plan)
    elements: Elements = {
        (0x0008, 0x0008): ("CS", "\\".join(vendor.image_type)),
        (0x0008, 0x0070): ("LO", vendor.name),
        (0x0008, 0x1090): ("LO", plan.model),
        (0x0008, 0x103E): ("LO", vendor.description.format(kernel=plan.kernel)),
        (0x0018, 0x0060): ("DS", plan.kvp),
        (0x0018, 0x1100): ("DS", plan.field_of_view_mm),
        (0x0018, 0x1210): ("SH", plan.kernel),
    }
    if plan.blood_hu:
        elements[(0x0018, 0x0010)] = ("LO", "SYNTHETIC AGENT 370")
    if plan.is_expiratory:
        elements[(0x0008, 0x103E)] = ("LO", "THORAX EXPIRATION")
    return elements


def series_geometry(scan: Scan, plan: AcquisitionPlan) -> SeriesGeometry:
    """Where the pixels are, LPS. The phantom's axes run like the patient's; the table adds to z."""
    z, y, x = scan.grid.origin_mm
    gap, row, column = scan.grid.spacing_mm
    height = z + plan.table_offset_mm
    if not plan.is_prone:
        return SeriesGeometry((x, y, height), (gap, row, column), plan.thickness_mm)
    _, rows, columns = scan.grid.shape
    far = (x + column * (columns - 1), y + row * (rows - 1), height)
    return SeriesGeometry(far, (gap, row, column), plan.thickness_mm, (-1, 0, 0, 0, -1, 0), "HFP")


def write_scan(
    scan: Scan,
    plan: AcquisitionPlan,
    identity: SeriesTags,
    folder: Path,
    rng: np.random.Generator,
    *,
    compression: Compression = "none",
) -> None:
    """Write the series of a scan.

    Args:
        scan: The scan.
        plan: Its acquisition.
        identity: Patient and UIDs; pixel type and vendor elements are filled in here.
        folder: Target.
        rng: Shuffles the file names.
        compression: Transfer syntax of the pixels.
    """
    vendor = vendor_of(plan)
    tags = SeriesTags(
        patient_id=identity.patient_id,
        sex=identity.sex,
        age_years=identity.age_years,
        uid_parts=identity.uid_parts,
        elements=series_elements(plan) | identity.elements,
        bits_stored=vendor.bits_stored,
        is_signed=vendor.is_signed,
        intercept=vendor.intercept,
    )
    # A prone patient's scan runs the other way through the patient: the pixels turn with the scanner's axes.
    hu = np.ascontiguousarray(scan.hu[:, ::-1, ::-1]) if plan.is_prone else scan.hu
    write_series(hu, series_geometry(scan, plan), tags, folder, rng, compression=compression)


def write_mask(labels: NDArray[np.uint8], scan: Scan, plan: AcquisitionPlan, path: Path) -> None:
    """Write labels as NIfTI with a RAS affine, the same bytes every time."""
    z, y, x = scan.grid.origin_mm
    gap, row, column = scan.grid.spacing_mm
    affine = np.diag([-column, -row, gap, 1.0])
    affine[:3, 3] = (-x, -y, z + plan.table_offset_mm)
    image = nib.nifti1.Nifti1Image(labels.transpose(2, 1, 0), affine)  # type: ignore[no-untyped-call]  # untyped library
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
