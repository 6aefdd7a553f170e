"""Synthetic patients, ingestion, preprocessing: from files to tensors. Never sees weights. Imports only `domain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domain.records import SeriesRef
    from domain.volume import Volume

__all__ = ["find_series", "read_volume"]


def find_series(scans: str | Path, **options: Any) -> tuple[SeriesRef, ...]:
    """Every series below a folder, with findings, decision and the choice per study.

    Args:
        scans: Folder, DICOM file, zip archive, NIfTI or MetaImage file.
        options: As of ``data_pipeline.discovery.survey``: ``secret``, ``policy``, ``overrides``, ``progress``.

    Returns:
        All series; the one to use of each study has ``selected`` set.

    Raises:
        ScanFolderError: No such file or folder.
    """
    from data_pipeline.discovery import survey

    return survey(scans, **options).series


def read_volume(series_or_path: SeriesRef | str | Path, **options: Any) -> Volume:
    """Read one CT series as an int16 HU volume (I, J, K) with a RAS affine in mm.

    Args:
        series_or_path: A series found by ``find_series``, or a path that holds one study.
        options: As of ``data_pipeline.volume_reading.read_volume``: ``policy``, ``even_if_rejected``, ``num_workers``.

    Raises:
        StudyError: It cannot be read or is refused; stage and code say where and why.
    """
    from data_pipeline.volume_reading import read_volume as read

    return read(series_or_path, **options)
