from __future__ import annotations

from typing import Any

import pytest
import torch

from domain import batch_keys
from domain.errors import RegistryError, SettingsError
from domain.specs import ComponentSpec, ModelSpec
from models.backbones import BACKBONES
from models.network import ComponentHead, build_network
from models.training_module import PatternModule
from tests.models.conftest import NUM_QUANTITIES, make_items, quick_settings, small_spec


def test_every_backbone_builds_from_its_defaults_and_answers_with_the_promised_shapes() -> None:
    rows = make_items(2, size=32, num_channels=3)
    image = torch.stack([row[batch_keys.IMAGE] for row in rows])
    quantitative = torch.stack([row[batch_keys.QUANTITATIVE] for row in rows])
    for name, version in BACKBONES.names():
        spec = ModelSpec(backbone=ComponentSpec(name=name, version=version))
        output = build_network(spec, 3, NUM_QUANTITIES).eval()(image, quantitative)
        assert output["pattern_logits"].shape == (2, 4), name
        assert output["embedding"].shape == (2, spec.embedding_size), name
        assert output["pattern_logits"].isfinite().all(), name


def test_a_batch_of_two_gives_what_two_batches_of_one_give() -> None:
    rows = make_items(2)
    network = build_network(small_spec(), 1, NUM_QUANTITIES).eval()
    image = torch.stack([row[batch_keys.IMAGE] for row in rows])
    quantitative = torch.stack([row[batch_keys.QUANTITATIVE] for row in rows])
    together = network(image, quantitative)["pattern_logits"]
    apart = torch.cat([network(image[i : i + 1], quantitative[i : i + 1])["pattern_logits"] for i in range(2)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_mixed_rises_with_both_components() -> None:
    head = ComponentHead(3)
    with torch.no_grad():
        head.evidence.weight.copy_(torch.eye(3))
        head.evidence.bias.zero_()
    logits = head(torch.tensor([[2.0, 3.0, 1.0]]))
    torch.testing.assert_close(logits, torch.tensor([[2.0, 3.0, 5.0, 1.0]]))


def test_unknown_backbone_and_misspelt_parameter_are_refused_by_name() -> None:
    with pytest.raises(RegistryError, match="small_cnn_3d"):
        build_network(small_spec("no_such_network"), 1, NUM_QUANTITIES)
    with pytest.raises(SettingsError, match="widht"):
        build_network(small_spec(widht=8), 1, NUM_QUANTITIES)


def test_a_network_without_image_and_without_quantities_is_refused() -> None:
    spec = ModelSpec(backbone=ComponentSpec(name="quantitative_only", version=1), use_quantitative=False)
    with pytest.raises(ValueError, match="image backbone, quantitative CT, or both"):
        build_network(spec, 1, NUM_QUANTITIES)


def test_missing_measures_do_not_reach_the_logits_as_nan_and_do_change_them() -> None:
    network = build_network(small_spec("quantitative_only"), 1, NUM_QUANTITIES).eval()
    image = torch.zeros(1, 1, 4, 4, 4)
    known = network(image, torch.ones(1, NUM_QUANTITIES))["pattern_logits"]
    missing = network(image, torch.full((1, NUM_QUANTITIES), torch.nan))["pattern_logits"]
    assert missing.isfinite().all()
    assert not torch.allclose(known, missing)


def test_scans_are_augmented_in_full_precision_also_where_the_network_is_not(items: list[dict[str, Any]]) -> None:
    seen: list[torch.dtype] = []

    def augment(batch: dict[str, Any]) -> dict[str, Any]:
        rows = batch[batch_keys.IMAGE].flatten(1)
        seen.append((rows @ rows.T).dtype)
        return batch

    batch = torch.utils.data.default_collate(items[:4])
    network = build_network(small_spec(), 1, NUM_QUANTITIES)
    module = PatternModule(network, quick_settings(), batch[batch_keys.PATTERN_TARGET], augment=augment)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module.training_loss(batch)
    assert seen == [torch.float32]
