from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domain.specs import ComponentSpec
from models import backbones
from models.backbones import BACKBONES


def test_no_backbone_file_is_forgotten() -> None:
    folder = Path(backbones.__file__).parent
    registering = {path.stem for path in folder.glob("*.py") if "@BACKBONES.register" in path.read_text()}
    assert registering <= set(backbones.__all__)
    assert registering == {name for name, _ in BACKBONES.names()}


def test_every_slice_keeps_its_place_in_the_map_of_a_slice_network() -> None:
    spec = ComponentSpec(name="slice_attention", version=1, params={"architecture": "mobilenet_v3_small"})
    backbone = BACKBONES.build(spec, num_channels=2).eval()
    image = torch.zeros(1, 2, 64, 64, 5)
    lit = image.clone()
    lit[..., 3] = torch.rand(64, 64)
    with torch.no_grad():
        changed = (backbone.feature_map(lit) - backbone.feature_map(image)).abs().sum(dim=(0, 1, 2, 3))
    assert changed.argmax() == 3
    assert changed[[0, 1, 2, 4]].sum() == 0


def test_a_slice_network_tells_the_base_from_the_apex() -> None:
    spec = ComponentSpec(name="slice_attention", version=1, params={"architecture": "mobilenet_v3_small"})
    torch.manual_seed(0)
    backbone = BACKBONES.build(spec, num_channels=1).eval()
    features = torch.randn(1, backbone.num_features, 2, 2, 6)
    with torch.no_grad():
        upright, upside_down = backbone.pool(features), backbone.pool(features.flip(4))
    assert not torch.allclose(upright, upside_down, rtol=1e-3)


@pytest.mark.parametrize("architecture", ["resnet34", "efficientnet_b0", "convnext_tiny"])
def test_torchvision_networks_take_our_channels(architecture: str) -> None:
    spec = ComponentSpec(name="slice_attention", version=1, params={"architecture": architecture})
    backbone = BACKBONES.build(spec, num_channels=4).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 4, 64, 64, 2)).shape == (1, backbone.num_features)
