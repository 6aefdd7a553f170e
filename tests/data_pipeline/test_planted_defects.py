"""Every defect the phantoms can plant is found under its own name; the good series beside it stays usable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_pipeline import read_volume
from data_pipeline.discovery import survey
from data_pipeline.graph import quantify_volume
from data_pipeline.phantoms import generate_cohort
from data_pipeline.phantoms.defects import ADDS_BESIDE, DEFECTS, plant_defect
from domain.batch_keys import FINDINGS
from domain.errors import StudyError
from domain.findings import QualityCode

FOUND_BY_THE_GRAPH = {QualityCode.MASK_FAILED, QualityCode.MASK_DOUBTFUL}
STILL_USABLE = ADDS_BESIDE | {
    QualityCode.LOSSY_COMPRESSED, QualityCode.MISSING_UID, QualityCode.INVALID_UID, QualityCode.SOFT_KERNEL,
    QualityCode.UNKNOWN_KERNEL, QualityCode.TOO_FEW_SLICES, QualityCode.MATRIX_TOO_SMALL, QualityCode.PRONE,
    QualityCode.SEQUENTIAL_ACQUISITION, QualityCode.DUPLICATE_SLICES, QualityCode.THICK_SLICES, QualityCode.EXPIRATORY,
    QualityCode.PARTIAL_LUNG_COVERAGE, QualityCode.CONTRAST_ENHANCED, QualityCode.PADDING_BELOW_AIR,
    QualityCode.GANTRY_TILT,
}  # fmt: skip
ALSO_CALLED = {
    QualityCode.NOT_A_CT_VOLUME: QualityCode.NOT_HU,  # an unsigned mask is refused from its header
    QualityCode.MASK_FAILED: QualityCode.NOT_CHEST,  # a chest without air is noticed before lungs are looked for
}
CODES = sorted(set(DEFECTS) - FOUND_BY_THE_GRAPH)


@pytest.fixture(scope="module")
def clean_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_cohort(tmp_path_factory.mktemp("cohort"), num_patients=1, seed=11) / "scans" / "P0001"


@pytest.fixture
def plant(clean_series: Path, tmp_path: Path) -> Callable[[QualityCode], Path]:
    def planted(code: QualityCode) -> Path:
        folder = tmp_path / code.value
        shutil.copytree(clean_series, folder)
        plant_defect(folder, code.value, np.random.default_rng(5))
        return folder

    return planted


def codes_met(folder: Path) -> tuple[set[QualityCode], bool]:
    """Codes of files, series and the volume chosen; and whether a volume was read."""
    found = survey(folder)
    codes = {code for series in found.series for code in series.codes}
    codes |= {record.code for record in found.files if record.code is not None}
    for series in found.series:
        if series.selected:
            try:
                codes |= {finding.code for finding in read_volume(series).findings}
            except StudyError as error:
                return codes | {error.code}, False
            return codes, True
    return codes, False


def test_a_clean_phantom_has_no_finding_but_its_coarse_slices(clean_series: Path) -> None:
    codes, is_read = codes_met(clean_series)
    assert is_read
    assert codes <= {QualityCode.THICK_SLICES, QualityCode.SOFT_KERNEL, QualityCode.CONTRAST_ENHANCED}


@pytest.mark.parametrize("code", CODES, ids=[code.value for code in CODES])
def test_a_planted_defect_is_found_under_its_name(code: QualityCode, plant: Callable[[QualityCode], Path]) -> None:
    codes, is_read = codes_met(plant(code))
    assert code in codes or ALSO_CALLED.get(code) in codes
    assert is_read is (code in STILL_USABLE)


@pytest.mark.parametrize("code", sorted(FOUND_BY_THE_GRAPH), ids=lambda code: code.value)
def test_what_only_the_lungs_show_is_found_by_the_graph(
    code: QualityCode, plant: Callable[[QualityCode], Path]
) -> None:
    [series] = [found for found in survey(plant(code)).series if found.selected]
    try:
        codes = {finding.code for finding in quantify_volume(read_volume(series))[FINDINGS]}
    except StudyError as error:
        codes = {error.code}
    assert codes & {code, ALSO_CALLED.get(code)}
    assert QualityCode.PARTIAL_LUNG_COVERAGE not in codes
