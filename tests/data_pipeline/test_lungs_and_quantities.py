"""Lung masks and quantitative CT on synthetic chests with a known truth, and on volumes nobody should send."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_chests import PLANS, chest, dice

from data_pipeline.graph import quantify_volume
from data_pipeline.lungs import LungMask, find_lungs
from data_pipeline.quantitative import quantify
from domain.affine import Affine
from domain.batch_keys import FINDINGS, LUNG_MASK, QUANTITATIVE_TABLE
from domain.errors import StudyError
from domain.findings import QualityCode, Stage
from domain.volume import AIR_HU, Volume


def found_in(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float] | None = None) -> LungMask:
    return find_lungs(hu, spacing_mm or chest("normal").spacing_mm)


@pytest.mark.parametrize(
    ("name", "least"), [("normal", 0.97), ("nsip", 0.97), ("emphysema", 0.97), ("op_peripheral", 0.95), ("mixed", 0.95)]
)
def test_the_mask_agrees_with_the_truth_of_coarse_phantoms(name: str, least: float) -> None:
    truth = chest(name)
    found = find_lungs(truth.hu, truth.spacing_mm)
    assert dice(found.labels > 0, truth.lungs > 0) > least
    both = (found.labels > 0) & (truth.lungs > 0)
    assert (found.labels[both] == truth.lungs[both]).mean() > 0.97


def test_peripheral_consolidation_is_inside_the_mask() -> None:
    truth = chest("op_peripheral")
    dense = (truth.lungs > 0) & (truth.hu > -200)
    assert (find_lungs(truth.hu, truth.spacing_mm).labels[dense] > 0).mean() > 0.6


def test_prone_patients_have_lungs_too() -> None:
    truth = chest("normal", is_prone=True)
    assert dice(find_lungs(truth.hu, truth.spacing_mm).labels > 0, truth.lungs > 0) > 0.96


def test_a_scan_stored_feet_first_and_mirrored_gives_the_same_sides() -> None:
    truth = chest("normal")
    matrix = np.diag([-truth.spacing_mm[0], truth.spacing_mm[1], -truth.spacing_mm[2], 1.0])
    turned = quantify_volume(Volume(truth.hu[::-1, :, ::-1], Affine(matrix)))
    straight = quantify_volume(Volume(truth.hu, Affine.from_spacing(truth.spacing_mm)))
    assert np.array_equal(turned[LUNG_MASK], straight[LUNG_MASK])
    assert turned[QUANTITATIVE_TABLE] == pytest.approx(straight[QUANTITATIVE_TABLE], nan_ok=True)


def test_bowel_gas_under_the_diaphragm_is_no_lung() -> None:
    truth = chest("normal")
    hu = truth.hu.copy()
    i, j, k = np.indices(hu.shape)
    spacing = np.array(truth.spacing_mm)
    dome = np.argwhere(truth.lungs == 2)[:, 2].min()
    centre = np.array([hu.shape[0] * 0.38, hu.shape[1] * 0.55, dome - 1])
    distance = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in zip((i, j, k), centre, spacing, strict=True)))
    gas = (distance < 24) & (truth.lungs == 0)
    hu[gas] = -1000
    assert (find_lungs(hu, truth.spacing_mm).labels[gas] > 0).mean() < 0.15


def test_an_effusion_leaves_the_aerated_lung_found() -> None:
    truth = chest("normal")
    hu = truth.hu.copy()
    back = np.indices(hu.shape)[1] < np.argwhere(truth.lungs == 1)[:, 1].min() + 8
    fluid = back & (truth.lungs == 1)
    hu[fluid] = 8
    labels = find_lungs(hu, truth.spacing_mm).labels
    aerated = (truth.lungs > 0) & ~fluid
    assert (labels[aerated] > 0).mean() > 0.95


def test_a_collapsed_lung_in_air_is_still_a_chest() -> None:
    truth = chest("normal")
    hu = truth.hu.copy()
    front = np.indices(hu.shape)[1] > np.argwhere(truth.lungs == 1)[:, 1].max() - 6
    hu[front & (truth.lungs == 1)] = -1000
    labels = find_lungs(hu, truth.spacing_mm).labels
    assert (labels[truth.lungs == 2] > 0).mean() > 0.95


@pytest.mark.parametrize("side", [1, 2])
def test_a_field_of_view_with_one_lung_is_named_partial(side: int) -> None:
    truth = chest("normal")
    middle = truth.hu.shape[0] // 2
    half = slice(middle - 4, None) if side == 1 else slice(None, middle + 4)
    mask = found_in(truth.hu[half])
    assert QualityCode.PARTIAL_LUNG_COVERAGE in {finding.code for finding in mask.findings}
    share = (mask.labels[truth.lungs[half] == side] == side).mean()
    assert share > 0.9


def test_a_cut_lung_is_named_partial() -> None:
    truth = chest("normal")
    mask = found_in(truth.hu[:, :, truth.hu.shape[2] // 2 :])
    assert QualityCode.PARTIAL_LUNG_COVERAGE in {finding.code for finding in mask.findings}


def test_planted_extents_are_measured_within_stated_errors() -> None:
    for name, key, planted, error in (
        ("normal", "ggo_percent", "ground_glass", 4.0),
        ("nsip", "ggo_percent", "ground_glass", 10.0),
        ("normal", "consolidation_percent", "consolidation", 1.5),
        ("op_peripheral", "consolidation_percent", "consolidation", 3.0),
    ):
        truth = chest(name)
        table, _ = quantify(truth.hu, truth.lungs, truth.spacing_mm)
        assert abs(table[key] - truth.extents[planted]) < error, name


def test_quantities_order_the_patterns_as_planted() -> None:
    tables = {name: quantify(chest(name).hu, chest(name).lungs, chest(name).spacing_mm)[0] for name in PLANS}
    assert tables["nsip"]["ggo_percent"] > 2 * tables["normal"]["ggo_percent"]
    assert tables["op_peripheral"]["consolidation_percent"] > 3 * tables["nsip"]["consolidation_percent"]
    assert tables["emphysema"]["low_attenuation_percent"] > tables["normal"]["low_attenuation_percent"] + 2
    assert tables["nsip"]["ggo_basal_share"] > 0.4
    assert tables["op_peripheral"]["consolidation_patchiness"] > 0.3


def test_shares_and_percentages_stay_in_range() -> None:
    table, _ = quantify(chest("mixed").hu, chest("mixed").lungs, chest("mixed").spacing_mm)
    for name, value in table.items():
        if name.endswith("_percent"):
            assert np.isnan(value) or 0 <= value <= 100, name
        if name.endswith(("_share", "_symmetry", "_patchiness")):
            assert np.isnan(value) or 0 <= value <= 1, name


BAD = {
    "water": (np.zeros((40, 40, 30), dtype=np.int16), (2.0, 2.0, 2.0)),
    "air": (np.full((40, 40, 30), AIR_HU, dtype=np.int16), (2.0, 2.0, 2.0)),
    "one voxel": (np.zeros((1, 1, 1), dtype=np.int16), (1.0, 1.0, 1.0)),
    "noise": (np.random.default_rng(0).integers(-1024, 1000, (40, 40, 30)).astype(np.int16), (2.0, 2.0, 2.0)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_volume_without_lungs_is_refused_with_a_code(name: str) -> None:
    hu, spacing = BAD[name]
    with pytest.raises(StudyError) as caught:
        quantify_volume(Volume(hu, Affine.from_spacing(spacing)))
    assert (caught.value.stage, caught.value.code) == (Stage.GRAPH, QualityCode.MASK_FAILED)


def middle_slices(count: int) -> NDArray[np.int16]:
    hu = chest("normal").hu
    return hu[:, :, hu.shape[2] // 2 : hu.shape[2] // 2 + count]


@pytest.mark.parametrize(
    ("hu", "spacing_mm"),
    [
        pytest.param(middle_slices(5), (3.6, 3.6, 4.0), id="5 slices"),
        pytest.param(np.repeat(middle_slices(1), 1500, axis=2)[::2, ::2], (7.2, 7.2, 0.2), id="1500 slices"),
        pytest.param(
            middle_slices(4).repeat(11, axis=0).repeat(11, axis=1)[:1024, :1024], (0.33, 0.33, 4.0), id="1024"
        ),
        pytest.param(middle_slices(12), (0.3, 0.3, 0.3), id="0.3 mm"),
        pytest.param(chest("normal").hu[::3, ::3, ::3], (10.0, 10.0, 10.0), id="10 mm"),
    ],
)
def test_odd_shapes_give_a_result_or_a_code(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> None:
    assert outcome(Volume(np.ascontiguousarray(hu), Affine.from_spacing(spacing_mm)))


def outcome(volume: Volume) -> object:
    """The code of a refusal, the findings, or the volume of lungs that are as large as lungs are."""
    try:
        data = quantify_volume(volume)
    except StudyError as error:
        return error.code
    return data[FINDINGS] or data[QUANTITATIVE_TABLE]["lung_volume_ml"] > 1000
