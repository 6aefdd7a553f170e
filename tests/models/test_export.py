from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from domain.errors import ExitCode, OutputFolderError
from models import load_artefact, selftest
from models.__main__ import main
from models.artefact import Artefact, ArtefactParts, save_artefact
from models.export import TOLERANCE, export_bundle, export_onnx

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def artefact(parts: ArtefactParts, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return load_artefact(save_artefact(tmp_path_factory.mktemp("export") / "model.hrct", parts), device="cpu")


@pytest.mark.slow
def test_onnx_says_what_the_model_says(artefact: Artefact, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    pytest.importorskip("onnxscript", reason="the export extra is not installed")
    assert export_onnx(artefact, tmp_path / "model.onnx") <= TOLERANCE


@pytest.mark.slow
def test_a_bundle_run_by_monai_gives_the_models_probabilities(artefact: Artefact, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    pytest.importorskip("fire", reason="the export extra is not installed")
    assert export_bundle(artefact, bundle) <= TOLERANCE
    volume = selftest.make_volume()
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(volume.voxels, volume.affine.matrix), scan)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs" / "inference.json")]
    command += ["--bundle_root", str(bundle), "--scan", str(scan), "--output_file", str(tmp_path / "found.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    expected = artefact.predict(volume).pattern
    assert expected is not None
    assert found == pytest.approx({pattern.value: p for pattern, p in expected.probabilities.items()}, abs=TOLERANCE)


def test_a_folder_that_is_no_bundle_is_spared(artefact: Artefact, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(OutputFolderError, match="not a MONAI bundle"):
        export_bundle(artefact, tmp_path)


@pytest.mark.slow
def test_the_command_writes_a_bundle(artefact: Artefact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(artefact.folder), "--out", str(tmp_path / "out"), "--formats", "bundle"]
    assert main(arguments) == ExitCode.OK
    assert "monai.bundle run" in capsys.readouterr().out
    assert (tmp_path / "out" / "bundle" / "configs" / "metadata.json").is_file()
