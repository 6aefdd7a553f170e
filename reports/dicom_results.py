"""Structured report and lung segmentation of one study beside each other. Needs the ``dicom-out`` extra."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine
from domain.errors import InputError
from domain.records import CaseResult, SeriesRef

logger = logging.getLogger(__name__)


def write(result: CaseResult, lungs: NDArray[np.uint8], affine: Affine, series: SeriesRef, folder: Path) -> None:
    """Write both; a study that did not come as DICOM files has neither.

    Args:
        result: Of the study.
        lungs: Lung mask on the grid of the series, shape (I, J, K).
        affine: Of ``lungs``, ijk to RAS mm.
        series: Where it came from.
        folder: Under ``private/``: DICOM objects name the patient.
    """
    from reports import dicom_seg, dicom_sr

    if series.reader != "dicom" or not all(Path(name).is_file() for name in series.files):
        logger.info("case %s did not come as DICOM files: no DICOM result", result.case_key)
        return
    sources = [Path(name) for name in series.files]
    try:
        dicom_sr.write(result, sources, folder / f"{result.case_key}_sr.dcm")
        dicom_seg.write(lungs, affine, sources, folder / f"{result.case_key}_seg.dcm")
    except InputError as error:
        logger.warning("case %s has no DICOM result: %s", result.case_key, error)
