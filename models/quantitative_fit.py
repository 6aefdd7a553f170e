"""The quantitative branch of a hybrid network, fitted to its end before the image branch begins."""

from __future__ import annotations

import torch
from torch import Tensor

from domain.settings import TrainingSettings
from models.losses.soft_cross_entropy import balanced_class_weights, soft_cross_entropy
from models.network import PatternNetwork

NUM_PASSES, MIN_STEPS, MAX_STEPS = 60, 200, 2000  # over the rows; about a second
BATCH_SIZE = 16
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.01


def fit_quantitative_branch(
    network: PatternNetwork, quantitative: Tensor, targets: Tensor, settings: TrainingSettings, seed: int
) -> None:
    """Fit the branch in place and take it out of further training.

    A perceptron on a score of numbers needs other steps than a network on a scan: trained for as many epochs as an
    image takes, it ended well below a network of its own. The branches share no weight, so each has its own schedule.

    Args:
        network: A hybrid, its scaling fitted, on the CPU.
        quantitative: Shape (N, Q), physical units, NaN where unknown.
        targets: Shape (N, 4), NaN rows for unlabelled scans.
        settings: For label smoothing and class balance.
        seed: Of order and dropout.
    """
    assert network.encoder is not None
    encoder, branch = network.encoder, network.branches[-1]
    parameters = [*encoder.parameters(), *branch.parameters()]
    weights = balanced_class_weights(targets, strength=settings.class_balance)
    num_rows = len(targets)
    num_steps = min(max(NUM_PASSES * -(-num_rows // BATCH_SIZE), MIN_STEPS), MAX_STEPS)
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=num_steps, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    network.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        for _ in range(num_steps):
            if len(order) == 0:
                order = torch.randperm(num_rows, generator=generator)
            rows, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
            _, logits = branch(encoder(quantitative[rows]))
            loss = soft_cross_entropy(
                logits, targets[rows], label_smoothing=settings.label_smoothing, class_weights=weights
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    for parameter in parameters:
        parameter.requires_grad = False
