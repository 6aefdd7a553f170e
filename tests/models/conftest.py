from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domain import batch_keys
from domain.antibodies import load_antibody_vocabulary
from domain.config_files import config_path
from domain.covariates import load_covariate_vocabulary
from domain.quantities import NETWORK_QUANTITIES
from domain.settings import TrainingSettings
from domain.specs import ComponentSpec, ModelSpec, PreprocessSpec
from domain.strict_yaml import load_settings
from models.artefact import ArtefactParts
from models.artefact_format import CohortSummary
from models.belief import fit_belief
from models.cross_fitting import CrossFit, cross_fit

torch.set_num_threads(1)

NUM_QUANTITIES = len(NETWORK_QUANTITIES)


def make_items(num_rows: int, *, seed: int = 0, size: int = 24, num_channels: int = 1) -> list[dict[str, Any]]:
    """Texture cubes: NSIP brightens the lower third, OP adds one bright block, mixed has both, other neither."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(num_rows):
        label = index % 4
        image = 0.2 + 0.03 * generator.standard_normal((num_channels, size, size, size))
        if label in (0, 2):
            image[..., : size // 3] += 0.2
        if label in (1, 2):
            i, j, k = generator.integers(0, size - 8, 3)
            image[:, i : i + 8, j : j + 8, k : k + 8] += 0.6
        quantitative = 20 + 5 * generator.standard_normal(NUM_QUANTITIES)
        quantitative[3] = np.nan
        rows.append(
            {
                batch_keys.IMAGE: torch.from_numpy(image.astype(np.float32)),
                batch_keys.QUANTITATIVE: torch.from_numpy(quantitative.astype(np.float32)),
                batch_keys.PATTERN_TARGET: torch.nn.functional.one_hot(torch.tensor(label), 4).float(),
                batch_keys.CASE_INDEX: torch.tensor(index),
            }
        )
    return rows


def make_folds(num_rows: int, num_folds: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(num_rows)
    fold = (rows // 4) % num_folds  # every fold holds all four labels
    return [(rows[fold != index], rows[fold == index]) for index in range(num_folds)]


def small_spec(name: str = "small_cnn_3d", **params: Any) -> ModelSpec:
    return ModelSpec(backbone=ComponentSpec(name=name, version=1, params=params), dropout=0.1)


def quick_settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate(
        {"max_epochs": 12, "batch_size": 8, "device": "cpu", "learning_rate": 3e-3, **changes}
    )


@pytest.fixture(scope="session")
def items() -> list[dict[str, Any]]:
    return make_items(48)


@pytest.fixture(scope="session")
def fitted(items: list[dict[str, Any]]) -> CrossFit:
    return cross_fit(items, make_folds(len(items)), small_spec(num_halvings=2), quick_settings())


@pytest.fixture(scope="session")
def preprocess() -> PreprocessSpec:
    return load_settings(PreprocessSpec, config_path("preprocess/small_3d.yaml"))


@pytest.fixture(scope="session")
def parts(preprocess: PreprocessSpec) -> ArtefactParts:
    """An artefact for the shipped preprocessing; what it says of scans is of no interest here."""
    rows = make_items(16, num_channels=8)
    folds = make_folds(16, 2)
    found = cross_fit(rows, folds, small_spec(width=4), quick_settings(max_epochs=1))
    return ArtefactParts(
        name="tested",
        trained_on="synthetic patients",
        model=small_spec(width=4),
        preprocess=preprocess,
        members=[member.network for member in found.members],
        num_channels=8,
        belief=fit_belief(found.outputs, [held_out for _, held_out in folds]),
        antibodies=load_antibody_vocabulary(),
        covariates=load_covariate_vocabulary(),
        endpoints=(),
        cohort=CohortSummary(num_patients=16, num_scans=16, num_labelled=16, patterns={"nsip": 4.0}),
        results={"accuracy": 0.25},
    )
