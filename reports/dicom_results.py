"""Structured report and lung segmentation of one study beside each other. Needs the ``dicom-out`` extra."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.affine import Affine
from domain.errors import InputError
from domain.records import CaseResult, SeriesRef
from reports.dicom_identity import DICOM_OUT_NEEDED

logger = logging.getLogger(__name__)


def write(
    result: CaseResult, lungs: NDArray[np.uint8], affine: Affine, series: SeriesRef, folder: Path
) -> tuple[str, ...]:
    """Write both; a study that did not come as DICOM files has neither, an odd header costs one of them.

    Args:
        result: Of the study.
        lungs: Lung mask on the grid of the series, shape (I, J, K).
        affine: Of ``lungs``, ijk to RAS mm.
        series: Where it came from.
        folder: Under ``private/``: DICOM objects name the patient. Files of an earlier result are removed.

    Returns:
        Names of the files that belong to the result. One that the disk did not take is among them, but not there.
    """
    from reports import dicom_seg, dicom_sr

    if series.reader != "dicom" or not all(Path(name).is_file() for name in series.files):
        logger.info("case %s did not come as DICOM files: no DICOM result", result.case_key)
        return ()
    sources, names = [Path(name) for name in series.files], []
    writers: dict[str, Callable[[Path], None]] = {
        f"{result.case_key}_sr.dcm": lambda path: dicom_sr.write(result, sources, path),
        f"{result.case_key}_seg.dcm": lambda path: dicom_seg.write(lungs, affine, sources, path),
    }
    for name, write_one in writers.items():
        (folder / name).unlink(missing_ok=True)
        try:
            write_one(folder / name)
        except OSError:
            logger.exception("%s could not be written", name)
        except InputError as error:
            logger.warning("case %s has no such DICOM result: %s", result.case_key, error)
            continue
        except Exception:  # highdicom refuses odd headers in many ways; the prediction must not be lost for that
            logger.exception("case %s has no such DICOM result", result.case_key)
            continue
        names.append(name)
    return tuple(names)


def require_extra() -> None:
    """Make sure that DICOM output is installed, before any study is run.

    Raises:
        InputError: It is not.
    """
    if find_spec("highdicom") is None:
        raise InputError(DICOM_OUT_NEEDED)
