from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from domain import batch_keys
from domain.errors import ArtefactError, ExitCode, InputError, OutputFolderError
from models import load_artefact, selftest
from models.__main__ import main
from models.artefact import Artefact, ArtefactParts, save_artefact
from models.artefact_format import ArtefactManifest, file_sha256
from models.evidence import ZONES


@pytest.fixture(scope="module")
def folder(parts: ArtefactParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_artefact(tmp_path_factory.mktemp("artefact") / "model.hrct", parts)


@pytest.fixture(scope="module")
def artefact(folder: Path) -> Artefact:
    return load_artefact(folder, device="cpu")


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy.hrct"))


def flip_a_byte(path: Path, place: int = -20) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_the_folder_holds_what_the_contract_says_and_nothing_temporary(folder: Path, parts: ArtefactParts) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"artefact.json", "weights.safetensors", "weights-2.safetensors", "selftest.npz", "CARD.md"}
    assert [path.name for path in folder.parent.iterdir()] == ["model.hrct"]
    assert parts.trained_on in (folder / "CARD.md").read_text()


def test_a_loaded_model_says_what_the_trained_one_says(artefact: Artefact, parts: ArtefactParts) -> None:
    item = artefact.preprocess(selftest.make_volume())
    image, quantitative = item[batch_keys.IMAGE][None], item[batch_keys.QUANTITATIVE][None]
    with torch.no_grad():
        expected = torch.cat([member(image, quantitative)["pattern_logits"] for member in parts.members]).mean(dim=0)
    (output,) = artefact.predictor.ensemble.run([torch.as_tensor(image[0])], [torch.as_tensor(quantitative[0])])
    found = output.logits.mean(axis=0)
    np.testing.assert_allclose(found, expected.double().numpy(), rtol=1e-4, atol=1e-5)


def test_a_prediction_is_complete(artefact: Artefact) -> None:
    volume = selftest.make_volume()
    analysis = artefact.analyse(volume, antibodies={"MDA5": "positive"}, covariates={"age_years": 61.0})
    pattern = analysis.prediction.pattern
    assert pattern is not None
    assert sum(pattern.probabilities.values()) == pytest.approx(1)
    assert pattern.abstained == bool(pattern.reason) == (pattern.pattern is None)
    assert analysis.prediction.quantitative["ggo_percent"] is not None
    assert set(analysis.seconds) == {"graph", "network", "prognosis"}
    evidence = analysis.evidence_on_source()
    assert evidence is not None
    assert evidence.shape == volume.voxels.shape
    assert 0 <= evidence.min() <= evidence.max() <= 1
    assert sum(analysis.prediction.evidence_zones[zone] for zone in ZONES) == pytest.approx(1)
    assert artefact.predict(volume, antibodies={"MDA5": "positive"}, covariates={"age_years": 61.0}) == (
        analysis.prediction
    )


def test_without_a_scan_there_is_no_pattern(artefact: Artefact) -> None:
    analysis = artefact.analyse(None, antibodies={"mda5": "negative"})
    assert analysis.prediction.pattern is None
    assert analysis.embedding is None
    assert analysis.evidence_on_source() is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"antibodies": {"anti_moon": "positive"}}, "anti_moon.*unknown to this model"),
        ({"antibodies": {"mda5": "perhaps"}}, "none of positive, negative, not_tested"),
        ({"covariates": {"shoe_size": 43.0}}, "shoe_size.*unknown to this model"),
    ],
)
def test_what_the_model_never_learnt_is_refused_by_name(artefact: Artefact, given: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        artefact.analyse(None, **given)


@pytest.mark.parametrize("name", ["artefact.json", "weights.safetensors", "weights-2.safetensors", "selftest.npz"])
def test_a_changed_byte_is_noticed(folder: Path, tmp_path: Path, name: str) -> None:
    copy = copy_of(folder, tmp_path)
    flip_a_byte(copy / name)
    with pytest.raises(ArtefactError, match=r"changed|damaged|not what a model"):
        load_artefact(copy)


def test_a_changed_number_in_the_settings_is_noticed(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    text = (copy / "artefact.json").read_text()
    (copy / "artefact.json").write_text(text.replace('"num_labelled": 16', '"num_labelled": 17'))
    with pytest.raises(ArtefactError, match="changed since it was written"):
        load_artefact(copy)


def test_a_lost_file_a_strange_folder_and_a_future_format_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a model folder"):
        load_artefact(tmp_path)
    copy = copy_of(folder, tmp_path)
    (copy / "weights-2.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"weights-2.safetensors is missing"):
        load_artefact(copy)
    value = json.loads((copy / "artefact.json").read_text()) | {"format_version": 99}
    (copy / "artefact.json").write_text(json.dumps(value))
    with pytest.raises(ArtefactError, match="format 99"):
        load_artefact(copy)


def rewrite(copy: Path, change: Callable[[dict], None]) -> None:
    """Change an artefact as someone would who also mends its checksums."""
    value = json.loads((copy / "artefact.json").read_text())
    change(value)
    value["files"] = {name: file_sha256(copy / name) for name in value["files"]}
    manifest = ArtefactManifest.model_validate_json(json.dumps(value | {"digest": ""}))
    (copy / "artefact.json").write_text(json.dumps(value | {"digest": manifest.content_digest()}))


def test_the_self_test_catches_what_checksums_cannot(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    weights = load_file(copy / "weights.safetensors")
    save_file({name: value * 1.5 + 0.1 for name, value in weights.items()}, copy / "weights.safetensors")
    rewrite(copy, lambda value: None)
    with pytest.raises(ArtefactError, match=r"self-test gives other results(.|\n)*probabilities"):
        load_artefact(copy)


def test_weights_of_another_network_are_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    rewrite(copy, lambda value: value["model"]["backbone"].update(params={"width": 8}))
    with pytest.raises(ArtefactError, match="do not fit the network") as caught:
        load_artefact(copy)
    assert len(str(caught.value)) < 500


def test_a_component_this_version_does_not_know_is_named(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    rewrite(copy, lambda value: value["model"]["backbone"].update(version=7))
    with pytest.raises(ArtefactError, match=r"small_cnn_3d.*version 7"):
        load_artefact(copy)


def test_saving_again_replaces_the_model_and_spares_other_folders(parts: ArtefactParts, tmp_path: Path) -> None:
    target = save_artefact(tmp_path / "model.hrct", parts)
    (target / "weights.safetensors").write_bytes(b"damaged")
    assert load_artefact(save_artefact(target, parts)).trained_on == parts.trained_on
    assert [path.name for path in tmp_path.iterdir()] == ["model.hrct"]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputFolderError, match="not a model folder"):
        save_artefact(precious, parts)
    assert (precious / "thesis.txt").exists()


def test_commands_verify_and_show_the_card(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder)]) == ExitCode.OK
    assert "intact" in capsys.readouterr().out
    assert main(["card", str(folder)]) == ExitCode.OK
    assert "Research use only" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == ExitCode.NOTHING_RUN
    assert "not a model folder" in capsys.readouterr().err
