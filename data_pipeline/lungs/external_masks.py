"""Lungs by packages with weights, behind one interface. Optional; imported when asked for; nothing is downloaded."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from data_pipeline.lungs.candidates import outside_body
from data_pipeline.lungs.coarse_grid import Spacing, block_mean, coarse_grid
from data_pipeline.lungs.lung_mask import LungMask, find_lungs, judged
from data_pipeline.lungs.sides import LEFT, RIGHT, Sides, body_middle
from domain.errors import SettingsError, StudyError
from domain.findings import Finding, QualityCode, Severity, Stage

Method = Literal["search", "lungmask", "totalsegmentator"]
MaskSource = Callable[[NDArray[np.int16], Spacing], Sides]  # HU in RAS order and spacing, mm -> labels 0, 1, 2

TOTAL_TASK, TOTAL_WEIGHTS = "total", "Dataset297_*"  # its model of 3 mm, the one for whole lungs on a CPU
INSTALL = {"lungmask": 'pip install "myolung[lungmask]"', "totalsegmentator": 'pip install "myolung[totalseg]"'}
SWITCHED_OFF = {"totalseg_id": "none", "send_usage_stats": False, "prediction_counter": 0}  # its config.json


def mask_source(method: Method, weights: str | None, device: str) -> MaskSource:
    """A source of masks by its name.

    Args:
        method: ``lungmask`` (weights: a file of its U-net R231) or ``totalsegmentator`` (weights: the folder that holds
            ``Dataset297_...``).
        weights: Where they are.
        device: Where the network runs.

    Raises:
        SettingsError: The package is missing, or the weights are not there.
    """
    where = f"params of preprocessing step 'lung_mask', method {method}"
    if find_spec(method) is None:
        raise SettingsError(where, [f"the package {method} is not installed; {INSTALL[method]}, or use method: search"])
    path = Path(weights) if weights else None
    if method == "lungmask":
        if path is None or not path.is_file():
            raise SettingsError(where, [f"weights: no file {weights}; download R231 yourself, nothing is fetched here"])
        return _lungmask(path, device)
    if path is None or not any(path.glob(TOTAL_WEIGHTS)):
        problem = f"weights: no {TOTAL_WEIGHTS} in {weights}; download them yourself, nothing is fetched here"
        raise SettingsError(where, [problem])
    return _totalsegmentator(path, device)


def lungs_from(
    source: MaskSource, name: str, voxels: NDArray[np.int16], spacing_mm: Spacing, *, fall_back: bool
) -> LungMask:
    """A mask of a source, with the same facts and findings as the search without weights.

    Args:
        source: From ``mask_source``.
        name: Of the source, for messages.
        voxels: HU, RAS order. Shape (I, J, K).
        spacing_mm: Spacing along i, j, k, mm.
        fall_back: Search without weights where the source finds no lungs; a finding says so.

    Raises:
        StudyError: ``mask_failed``: no lungs.
    """
    labels = np.asarray(source(voxels, spacing_mm), dtype=np.uint8)
    if labels.shape != voxels.shape:
        raise ValueError(f"{name} answered with shape {labels.shape} to a volume of shape {voxels.shape}")
    grid = coarse_grid(voxels, spacing_mm)
    right, left = (block_mean((labels == side).view(np.uint8), grid.factors) for side in (RIGHT, LEFT))
    sides = np.where(right + left >= 0.5, np.where(right >= left, RIGHT, LEFT), 0).astype(np.uint8)
    try:
        return judged(labels, spacing_mm, sides, grid, body_middle(grid, outside_body(grid, 1)))
    except StudyError as error:
        if not fall_back or error.code is not QualityCode.MASK_FAILED:
            raise
    found = find_lungs(voxels, spacing_mm)
    message = f"{name} found no lungs; the search without weights was used instead"
    finding = Finding(QualityCode.MASK_DOUBTFUL, Severity.WARN, message, {"stage": Stage.GRAPH.value})
    return LungMask(found.labels, found.facts, (*found.findings, finding))


def _lungmask(weights: Path, device: str) -> MaskSource:
    """The U-net of Hofmanninger et al., Eur Radiol Exp 2020. Its arrays are slices first, in LPS order."""
    package: Any = import_module("lungmask")
    inferer = package.LMInferer(modelpath=str(weights), force_cpu=device == "cpu", tqdm_disable=True)

    def source(voxels: NDArray[np.int16], spacing_mm: Spacing) -> Sides:
        found = np.asarray(inferer.apply(np.ascontiguousarray(voxels[::-1, ::-1].transpose(2, 1, 0))))
        return found.transpose(2, 1, 0)[::-1, ::-1].astype(np.uint8)  # 1 right, 2 left, as here

    return source


def _totalsegmentator(weights: Path, device: str) -> MaskSource:
    """TotalSegmentator (Wasserthal et al., Radiol Artif Intell 2023), lobes joined to lungs."""
    api: Any = import_module("totalsegmentator.python_api")
    names: dict[int, str] = import_module("totalsegmentator.map_to_binary").class_map[TOTAL_TASK]
    side_of = np.zeros(max(names) + 1, dtype=np.uint8)
    for number, name in names.items():
        if name.startswith("lung_"):
            side_of[number] = RIGHT if name.endswith("right") else LEFT

    def source(voxels: NDArray[np.int16], spacing_mm: Spacing) -> Sides:
        affine = np.diag([*spacing_mm, 1.0])
        image = nib.Nifti1Image(np.ascontiguousarray(voxels), affine)  # type: ignore[no-untyped-call]
        with _quiet_and_offline(api, weights):
            answer = api.totalsegmentator(
                image, None, ml=True, fast=True, task=TOTAL_TASK, quiet=True, device="cpu" if device == "cpu" else "gpu"
            )
        return np.asarray(side_of[np.asarray(answer.dataobj).astype(np.intp)])

    return source


@contextmanager
def _quiet_and_offline(api: Any, weights: Path) -> Iterator[None]:
    """A home of its own with usage statistics switched off, and no download: a missing file is an error."""

    def refuse(task_id: int) -> None:
        if not any(weights.glob(f"Dataset{task_id}_*")):
            raise FileNotFoundError(f"{weights} holds no weights of TotalSegmentator's task {task_id}")

    kept = {name: os.environ.get(name) for name in ("TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH")}
    download = api.download_pretrained_weights
    with tempfile.TemporaryDirectory() as home:
        Path(home, "config.json").write_text(json.dumps(SWITCHED_OFF), encoding="utf-8")
        os.environ.update(TOTALSEG_HOME_DIR=home, TOTALSEG_WEIGHTS_PATH=str(weights))
        api.download_pretrained_weights = refuse
        try:
            yield
        finally:
            api.download_pretrained_weights = download
            for name, value in kept.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
