"""Optional packages behind one interface, stood in for by modules with the call they offer (lungmask 0.2.22,
TotalSegmentator 2.18.0); their weights are not part of this project."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from data_pipeline.graph import build_preprocess, run_graph
from domain.affine import Affine
from domain.batch_keys import FINDINGS, LUNG_MASK
from domain.errors import SettingsError
from domain.findings import QualityCode
from domain.specs import ComponentSpec, PreprocessSpec
from domain.volume import Volume

SPACING = (4.0, 4.0, 5.0)


def block_chest() -> tuple[np.ndarray, np.ndarray]:
    """Two boxes of lung in a body, and their labels; RAS."""
    i, j, k = np.indices((80, 60, 50))
    hu = np.full(i.shape, -1000, dtype=np.int16)
    hu[(i > 3) & (i < 76) & (j > 3) & (j < 56)] = 40
    labels = np.zeros(i.shape, dtype=np.uint8)
    inside = (j > 10) & (j < 45) & (k > 5) & (k < 45)
    labels[inside & (i > 44) & (i < 70)] = 1
    labels[inside & (i > 10) & (i < 36)] = 2
    hu[labels > 0] = -850
    return hu, labels


def spec(method: str, weights: Path | None, *, fall_back: bool = True) -> PreprocessSpec:
    params: dict[str, Any] = {"method": method, "weights": str(weights) if weights else None, "fall_back": fall_back}
    steps = (ComponentSpec(name="orient_ras", version=1), ComponentSpec(name="lung_mask", version=2, params=params))
    return PreprocessSpec(name="external", steps=steps)


def result_of(method: str, weights: Path, *, fall_back: bool = True) -> dict[str, Any]:
    hu, _ = block_chest()
    graph = build_preprocess(spec(method, weights, fall_back=fall_back))
    return run_graph(graph, Volume(hu, Affine.from_spacing(SPACING)))


class FakeInferer:
    """Answers with the labels of ``block_chest`` in lungmask's order: slices first, LPS."""

    answer: np.ndarray
    settings: dict[str, Any]

    def __init__(self, **settings: Any) -> None:
        type(self).settings = settings

    def apply(self, image: np.ndarray) -> np.ndarray:
        hu, _ = block_chest()
        assert np.array_equal(image, hu[::-1, ::-1].transpose(2, 1, 0))
        return self.answer[::-1, ::-1].transpose(2, 1, 0)


@pytest.fixture
def lungmask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    module = types.ModuleType("lungmask")
    module.LMInferer = FakeInferer  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "lungmask", module)
    FakeInferer.answer = block_chest()[1]
    weights = tmp_path / "r231.pth"
    weights.write_bytes(b"")
    return weights


@pytest.fixture
def totalsegmentator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    weights = tmp_path / "weights"
    (weights / "Dataset297_TotalSegmentator_total_3mm_1559subj").mkdir(parents=True)
    package, api, names = (
        types.ModuleType(f"totalsegmentator{part}") for part in ("", ".python_api", ".map_to_binary")
    )
    lobes = {10: "lung_upper_lobe_left", 11: "lung_lower_lobe_left", 12: "lung_upper_lobe_right", 51: "heart"}
    names.class_map = {"total": lobes}  # type: ignore[attr-defined]

    def download(task_id: int) -> None:
        raise AssertionError("fetched")

    def run(image: nib.Nifti1Image, output: None, **settings: Any) -> nib.Nifti1Image:
        home = Path(os.environ["TOTALSEG_HOME_DIR"])
        assert json.loads((home / "config.json").read_text())["send_usage_stats"] is False
        assert os.environ["TOTALSEG_WEIGHTS_PATH"] == str(weights)
        api.download_pretrained_weights(297)  # type: ignore[attr-defined]
        with pytest.raises(FileNotFoundError):
            api.download_pretrained_weights(298)  # type: ignore[attr-defined]
        assert settings == {"ml": True, "fast": True, "task": "total", "quiet": True, "device": "cpu"}
        labels = block_chest()[1]
        lobe = np.where(labels == 1, 12, np.where(labels == 2, 10 + (np.indices(labels.shape)[2] < 20), 51))
        return nib.Nifti1Image(lobe.astype(np.uint8), image.affine)

    api.totalsegmentator = run  # type: ignore[attr-defined]
    api.download_pretrained_weights = download  # type: ignore[attr-defined]
    package.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    for module in (package, api, names):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return weights


def test_lungmask_answers_in_its_own_order_and_is_turned_back(lungmask: Path) -> None:
    assert np.array_equal(result_of("lungmask", lungmask)[LUNG_MASK][0], block_chest()[1])
    assert FakeInferer.settings == {"modelpath": str(lungmask), "force_cpu": True, "tqdm_disable": True}


def test_totalsegmentator_runs_offline_without_telemetry_and_its_lobes_are_joined(totalsegmentator: Path) -> None:
    assert np.array_equal(result_of("totalsegmentator", totalsegmentator)[LUNG_MASK][0], block_chest()[1])
    assert "TOTALSEG_HOME_DIR" not in os.environ


def test_the_same_checks_judge_every_source(lungmask: Path) -> None:
    labels = block_chest()[1].copy()
    labels[labels == 2] = 0
    labels[20:25, 15:40, 10:40] = 2
    FakeInferer.answer = labels
    assert QualityCode.MASK_DOUBTFUL in {finding.code for finding in result_of("lungmask", lungmask)[FINDINGS]}


def test_a_source_that_finds_nothing_is_replaced_by_the_search_and_that_is_said(lungmask: Path) -> None:
    FakeInferer.answer = np.zeros_like(block_chest()[1])
    data = result_of("lungmask", lungmask)
    assert (data[LUNG_MASK] > 0).sum() > 0.9 * (block_chest()[1] > 0).sum()
    assert any("search without weights" in finding.message for finding in data[FINDINGS])


@pytest.mark.parametrize("method", ["lungmask", "totalsegmentator"])
def test_a_missing_package_or_weights_are_named_before_anything_runs(
    method: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setitem(sys.modules, method, None)
    with pytest.raises(SettingsError, match="not installed"):
        build_preprocess(spec(method, None))
    request.getfixturevalue(method)
    with pytest.raises(SettingsError, match="nothing is fetched"):
        build_preprocess(spec(method, Path("nowhere")))
