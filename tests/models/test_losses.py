from __future__ import annotations

import torch

from models.losses import balanced_class_weights, soft_cross_entropy


def test_soft_labels_give_the_expected_value() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    target = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    expected = -(0.5 * torch.log(torch.tensor(0.1)) + 0.5 * torch.log(torch.tensor(0.2)))
    torch.testing.assert_close(soft_cross_entropy(logits, target), expected)


def test_unlabelled_rows_do_not_count() -> None:
    logits = torch.randn(3, 4)
    target = torch.eye(4)[:3]
    with_gap = torch.cat([target, torch.full((2, 4), torch.nan)])
    longer = torch.cat([logits, torch.randn(2, 4)])
    torch.testing.assert_close(soft_cross_entropy(longer, with_gap), soft_cross_entropy(logits, target))


def test_a_batch_without_labels_gives_zero_loss_and_zero_gradients() -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    loss = soft_cross_entropy(logits, torch.full((2, 4), torch.nan), label_smoothing=0.1)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_the_loss_does_not_depend_on_how_rows_are_spread_over_batches() -> None:
    logits, target = torch.randn(6, 4), torch.eye(4)[[0, 1, 2, 3, 0, 1]]
    target[1] = torch.nan
    weights = torch.tensor([0.5, 1.5, 2.0, 1.0])
    options = {"class_weights": weights, "mean_row_weight": 0.9}
    whole = soft_cross_entropy(logits, target, **options)
    halves = [soft_cross_entropy(logits[rows], target[rows], **options) for rows in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


def test_the_loss_is_the_same_for_shuffled_rows_and_shifted_logits() -> None:
    logits, target = torch.randn(5, 4), torch.softmax(torch.randn(5, 4), dim=1)
    order = torch.tensor([3, 1, 4, 0, 2])
    loss = soft_cross_entropy(logits, target)
    torch.testing.assert_close(loss, soft_cross_entropy(logits[order], target[order]))
    torch.testing.assert_close(loss, soft_cross_entropy(logits + 7, target))


def test_balance_makes_a_rare_class_heavier_and_keeps_the_mean_at_one() -> None:
    target = torch.eye(4)[[0] * 8 + [1] * 2 + [2] * 2]
    weights = balanced_class_weights(target, strength=1.0)
    torch.testing.assert_close(weights[1] / weights[0], torch.tensor(4.0))
    torch.testing.assert_close((target * weights).sum(dim=1).mean(), torch.tensor(1.0))
    assert torch.equal(balanced_class_weights(target, strength=0.0), torch.ones(4))
