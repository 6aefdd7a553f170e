from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from domain.specs import ComponentSpec
from models import backbones
from models.backbones import BACKBONES, Backbone


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


FAR_REACHING = {nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d, SqueezeExcitation}


def without_long_reach(module: nn.Module) -> None:
    """Take out what lets a cell see the whole image: normalisation over it, squeeze and excitation."""
    for name, child in module.named_children():
        setattr(module, name, nn.Identity()) if type(child) in FAR_REACHING else without_long_reach(child)
    if hasattr(module, "has_se"):
        module.has_se = False


def centre_of(backbone: Backbone, size: int, cell: int, other_axes: tuple[int, int]) -> float:
    """Centroid along i of the gradient of one plane of cells: what it sees, voxels."""
    seen = torch.zeros(size, dtype=torch.float64)
    for _ in range(3):
        image = torch.randn(1, 1, size, *other_axes, requires_grad=True)
        backbone.feature_map(image)[0, :, cell].square().sum().backward()
        assert image.grad is not None
        seen += image.grad[0, 0].double().square().sum(dim=(1, 2))
    return float((seen * torch.arange(size)).sum() / seen.sum())


@pytest.mark.parametrize(
    ("name", "params", "size"),
    [
        ("small_cnn_3d", {}, 96),
        ("small_cnn_3d", {"num_stages": 2, "num_halvings": 3}, 48),
        ("resnet_3d", {"depth": 10, "width": 16}, 160),
        ("resnet_3d", {"depth": 10, "width": 16, "stem_pooling": True}, 192),
        ("segresnet_3d", {"init_filters": 8, "blocks_down": [1, 1, 2]}, 64),
        ("densenet_3d", {"init_features": 16, "growth_rate": 16, "block_config": [3, 6, 6]}, 160),
        ("efficientnet_3d", {}, 224),
        ("slice_attention", {"architecture": "resnet18"}, 448),
        ("slice_attention", {"architecture": "convnext_tiny"}, 448),
    ],
)
def test_a_cell_lies_where_its_gradient_does(name: str, params: dict[str, Any], size: int) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES.build(ComponentSpec(name=name, version=1, params=params), num_channels=1).eval()
    without_long_reach(backbone)
    stride, origin = backbone.cell_stride[0], backbone.cell_origin[0]
    low, high = size // stride // 4, 3 * size // stride // 4
    axes = (32, 1) if name == "slice_attention" else (32, 32)
    found = [centre_of(backbone, size, cell, axes) for cell in (low, high)]
    # What still reaches everywhere pulls both centroids towards the middle of the image by the same share.
    local = (found[1] - found[0]) / (stride * (high - low))
    middle = (sum(found) / 2 - (1 - local) * (size - 1) / 2) / local
    assert local > 0.5
    assert middle - stride * (low + high) / 2 == pytest.approx(origin, abs=0.1 * stride)
