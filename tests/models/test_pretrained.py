from __future__ import annotations

import pickle  # noqa: TID251 - to prove that one is refused
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from domain.errors import SettingsError
from domain.specs import ComponentSpec, PretrainedWeights
from models.artefact_format import file_sha256
from models.backbones import BACKBONES, Backbone
from models.pretrained import load_pretrained


def slice_backbone(num_channels: int = 4) -> Backbone:
    return BACKBONES.build(ComponentSpec(name="slice_attention", version=1), num_channels=num_channels)


def weights_of(path: Path, min_share: float = 0.8) -> PretrainedWeights:
    return PretrainedWeights(path=str(path), sha256=file_sha256(path), min_share=min_share)


def test_torchvision_weights_fill_a_slice_network_and_the_first_layer_keeps_its_response(tmp_path: Path) -> None:
    published = torchvision.models.resnet18(weights=None).eval()
    torch.save({"state_dict": {f"module.{name}": v for name, v in published.state_dict().items()}}, tmp_path / "w.pth")
    backbone = slice_backbone()
    assert load_pretrained(backbone, weights_of(tmp_path / "w.pth")) == pytest.approx(1.0)
    grey = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(
        backbone.blocks.eval()(grey.expand(1, 4, 32, 32))[0].mean(dim=(1, 2)),
        torch.nn.Sequential(*list(published.children())[:-2])(grey.expand(1, 3, 32, 32))[0].mean(dim=(1, 2)),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_published_3d_encoder_is_recognised_under_its_own_names(tmp_path: Path) -> None:
    spec = ComponentSpec(name="resnet_3d", version=1, params={"depth": 10, "width": 16, "norm": "batch"})
    donor = BACKBONES.build(spec, num_channels=1)
    assert donor.source is not None
    save_file(
        {name: value.contiguous() for name, value in donor.source.state_dict().items()}, tmp_path / "w.safetensors"
    )
    backbone = BACKBONES.build(spec, num_channels=1)
    assert load_pretrained(backbone, weights_of(tmp_path / "w.safetensors")) == pytest.approx(1.0)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, donor.state_dict()[name]), name


def test_another_file_than_the_checksum_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(SettingsError, match="SHA-256"):
        load_pretrained(slice_backbone(), PretrainedWeights(path=str(path), sha256="0" * 64))
    with pytest.raises(SettingsError, match="never downloaded"):
        load_pretrained(slice_backbone(), PretrainedWeights(path=str(tmp_path / "no.pt"), sha256="0" * 64))


def test_weights_of_something_else_are_refused_with_the_share_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"unrelated.weight": torch.zeros(3)}, path)
    with pytest.raises(SettingsError, match="only 0%"):
        load_pretrained(slice_backbone(), weights_of(path))


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("trapped"),))


def test_a_pickle_with_code_is_refused_unrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": Trap()}, protocol=2))
    with pytest.raises(SettingsError, match="plain tensors"):
        load_pretrained(slice_backbone(), weights_of(tmp_path / "w.pt"))
    assert not (tmp_path / "trapped").exists()
