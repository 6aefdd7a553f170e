from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from domain import batch_keys
from models.cross_fitting import CrossFit
from models.evidence import gradient_evidence
from models.evidence_checks import agreement_with_random_weights, faithfulness, occlusion_evidence, shortcut_check

Items = list[dict[str, Any]]
OP = 1


def op_scans(items: Items) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(item[batch_keys.IMAGE][None], item[batch_keys.QUANTITATIVE][None]) for item in items[1:33:4]]


def test_taking_the_evidence_away_first_costs_more_than_taking_it_in_any_order(fitted: CrossFit, items: Items) -> None:
    network = fitted.members[0].network
    better = []
    for image, quantitative in op_scans(items):
        evidence = gradient_evidence(network, image, quantitative, OP)
        assert evidence is not None
        blank = torch.full_like(image, 0.2)
        by_evidence = faithfulness(network, image, quantitative, OP, evidence, blank)
        anyhow = torch.rand(evidence.shape, generator=torch.Generator().manual_seed(0))
        by_chance = faithfulness(network, image, quantitative, OP, anyhow, blank)
        assert by_evidence.deletion[0] == by_evidence.insertion[-1]
        better.append(by_evidence.insertion_area - by_chance.insertion_area)
        better.append(by_chance.deletion_area - by_evidence.deletion_area)
    assert np.mean(better) > 0


def test_a_map_of_randomised_weights_is_another_map(fitted: CrossFit, items: Items) -> None:
    network = fitted.members[0].network
    agreements = [
        agreement_with_random_weights(network, image, quantitative, OP, seed=seed)
        for seed, (image, quantitative) in enumerate(op_scans(items))
    ]
    assert np.mean(agreements) < 0.5


@pytest.mark.parametrize("corner", [(0, 0, 16), (8, 16, 8), (16, 8, 16)])
def test_occlusion_finds_the_block_that_makes_it_op(
    fitted: CrossFit, items: Items, corner: tuple[int, int, int]
) -> None:
    block = torch.zeros((24, 24, 24), dtype=torch.bool)
    block[tuple(slice(place, place + 8) for place in corner)] = True  # one cube of the occlusion
    noise = torch.randn(block.shape, generator=torch.Generator().manual_seed(0))
    image = (0.2 + 0.03 * noise + 0.6 * block)[None, None]
    for member in fitted.members:
        evidence = occlusion_evidence(member.network, image, items[1][batch_keys.QUANTITATIVE][None], OP)
        assert evidence[block].mean() == 1
        assert evidence[~block].mean() < 0.1


def test_answers_collapse_without_the_lungs_and_hardly_move_with_the_style(fitted: CrossFit, items: Items) -> None:
    images = torch.stack([item[batch_keys.IMAGE] for item in items[:16]])
    quantitative = torch.stack([item[batch_keys.QUANTITATIVE] for item in items[:16]])
    lungs = torch.ones_like(images[:, :1])

    def softer(values: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(values, (0, 0, 1, 1, 1, 1), mode="replicate")
        blurred = torch.nn.functional.avg_pool3d(padded, (3, 3, 1), stride=1)
        return 0.7 * values + 0.3 * blurred

    found = shortcut_check(fitted.members[0].network, images, lungs, quantitative, softer)
    assert found.left_without_lungs < 0.2
    assert found.moved_by_style < 0.15
    nothing_hidden = shortcut_check(fitted.members[0].network, images, 0 * lungs, quantitative, softer)
    assert nothing_hidden.left_without_lungs == 1
