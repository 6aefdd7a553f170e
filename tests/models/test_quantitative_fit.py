"""The quantitative branch of a hybrid is as good as a network of its own, however short the image trains."""

from __future__ import annotations

import torch
from torch import Tensor

from models.network import PatternNetwork, build_network
from models.quantitative_fit import fit_quantitative_branch
from tests.models.conftest import NUM_QUANTITIES, quick_settings, small_spec


def cohort(seed: int, num_rows: int = 160) -> tuple[Tensor, Tensor]:
    """Measures whose means differ by class, one in ten unknown; classes of very different size."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), num_rows, replacement=True, generator=generator)
    centres = 1.5 * torch.randn(4, NUM_QUANTITIES, generator=torch.Generator().manual_seed(7))
    values = centres[classes] + torch.randn(num_rows, NUM_QUANTITIES, generator=generator)
    values[torch.rand(values.shape, generator=generator) < 0.1] = torch.nan
    return values, torch.eye(4)[classes]


def fitted(targets: Tensor, quantities: Tensor, seed: int = 1) -> PatternNetwork:
    torch.manual_seed(0)
    network = build_network(small_spec(), 1, NUM_QUANTITIES)
    assert network.encoder is not None
    network.encoder.fit_scaling(quantities)
    fit_quantitative_branch(network, quantities, targets, quick_settings(max_epochs=1), seed)
    return network.eval()


def answers(network: PatternNetwork, quantities: Tensor) -> Tensor:
    assert network.encoder is not None
    with torch.no_grad():
        logits: Tensor = network.branches[-1](network.encoder(quantities))[1]
    return logits


def accuracy(network: PatternNetwork, quantities: Tensor, targets: Tensor) -> float:
    return float((answers(network, quantities).argmax(dim=1) == targets.argmax(dim=1)).float().mean())


def test_it_learns_what_the_measures_hold_and_not_what_they_do_not() -> None:
    quantities, targets = cohort(1)
    unseen, truth = cohort(2, 400)
    distance = torch.cdist(
        torch.nan_to_num(unseen), 1.5 * torch.randn(4, NUM_QUANTITIES, generator=torch.Generator().manual_seed(7))
    )
    attainable = float((distance.argmin(dim=1) == truth.argmax(dim=1)).float().mean())
    assert accuracy(fitted(targets, quantities), unseen, truth) > attainable - 0.1
    shuffled = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(3))]
    assert accuracy(fitted(shuffled, quantities), unseen, truth) < 0.5


def test_unlabelled_rows_change_nothing_but_the_order() -> None:
    quantities, targets = cohort(1)
    half = targets.clone()
    half[::2] = torch.nan
    unseen, truth = cohort(2, 400)
    assert accuracy(fitted(half, quantities), unseen, truth) > 0.6


def test_the_rest_of_the_training_leaves_it_alone_and_the_same_seed_gives_the_same() -> None:
    quantities, targets = cohort(1)
    first, again, other = fitted(targets, quantities), fitted(targets, quantities), fitted(targets, quantities, seed=2)
    assert torch.equal(answers(first, quantities), answers(again, quantities))
    assert not torch.equal(answers(first, quantities), answers(other, quantities))
    trained = {name for name, value in first.named_parameters() if value.requires_grad}
    assert trained == {name for name, _ in first.named_parameters() if name.startswith(("backbone", "branches.0"))}
