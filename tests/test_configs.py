"""Every shipped YAML file loads through the model that reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.graph import build_preprocess
from domain.antibodies import load_antibody_vocabulary
from domain.config_files import config_path
from domain.covariates import load_covariate_vocabulary
from domain.endpoints import load_endpoint
from domain.errors import SettingsError
from domain.patterns import load_pattern_vocabulary
from domain.settings import HeadSettings, RecalibrationSettings, TrainSettings
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_one_of, load_settings, load_yaml
from models.backbones import BACKBONES

ROOT = config_path("vocabularies/patterns.yaml").parents[1]
KINDS = {"network": TrainSettings, "head": HeadSettings, "recalibration": RecalibrationSettings}


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / folder).glob("*.yaml"))


def test_no_configuration_file_is_forgotten() -> None:
    known = {"vocabularies", "endpoints", "preprocess", "train", "quality", "phantoms", "whas500"}
    assert {path.parent.name for path in ROOT.rglob("*.yaml")} <= known


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_is_strict_yaml(path: Path) -> None:
    assert isinstance(load_yaml(path), dict)


def test_vocabularies_load() -> None:
    assert load_antibody_vocabulary().keys
    assert load_covariate_vocabulary().keys
    assert load_pattern_vocabulary().patterns


@pytest.mark.parametrize("name", names("endpoints"))
def test_endpoints_load(name: str) -> None:
    assert load_endpoint(name).name == name


@pytest.mark.parametrize("name", names("preprocess"))
def test_preprocessing_graphs_build(name: str) -> None:
    spec = load_settings(PreprocessSpec, config_path(f"preprocess/{name}.yaml"))
    assert spec.name == name
    assert len(build_preprocess(spec).transforms) == len(spec.steps)


@pytest.mark.parametrize("name", names("train"))
def test_training_settings_name_what_exists(name: str) -> None:
    settings = load_one_of(KINDS, config_path(f"train/{name}.yaml"), default="network")
    if isinstance(settings, TrainSettings):
        BACKBONES.check(settings.network.backbone)
        config_path(f"preprocess/{settings.preprocess}.yaml")
    if isinstance(settings, TrainSettings | HeadSettings):
        assert [load_endpoint(endpoint).name for endpoint in settings.vocabularies.endpoints]


def test_a_kind_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: forest\n")
    with pytest.raises(SettingsError, match="kind: 'forest' is none of network, head, recalibration"):
        load_one_of(KINDS, tmp_path / "x.yaml", default="network")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_array_job_is_a_job_step_with_all_its_cores(tmp_path: Path) -> None:
    """SLURM warns job steps before the time is up (``--signal`` without ``B:``), never what the batch shell starts."""
    srun = tmp_path / "srun"
    srun.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nexit "$CODE"\n')
    srun.chmod(0o755)
    for ends_with, exit_code in ((0, 0), (1, 0), (2, 2), (130, 130)):
        environment = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CODE": str(ends_with),
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "16",
            "SLURM_CPUS_PER_TASK": "8",
        }
        command = ["sh", str(ROOT / "slurm" / "infer_array.sh"), "scans here", "model.hrct", "out"]
        assert subprocess.run(command, env=environment, check=False).returncode == exit_code
        words = (tmp_path / "words").read_text().splitlines()
        assert words[:5] == ["--ntasks=1", "--cpus-per-task=8", "python", "infer.py", "scans here"]
        assert words[-4:] == ["--shard", "3/16", "--workers", "4"]


def test_the_example_cohort_loads() -> None:
    folder = ROOT / "examples" / "whas500"
    assert load_settings(HeadSettings, folder / "train.yaml").name == "whas500"
    assert load_endpoint(str(folder / "endpoint.yaml")).cause_keys == ("death",)
    assert "sho" in load_covariate_vocabulary(str(folder / "covariates.yaml")).keys
