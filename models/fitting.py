"""Fitting one network, and cross-fitting an ensemble whose out-of-fold outputs calibration may trust.

Reading settings, making splits and writing the artefact are not here: see `train.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from domain import batch_keys
from domain.settings import TrainingSettings
from domain.specs import ModelSpec, digest_of
from models.batches import Finish, Items, count, keep_resident, make_loader, part_of, read_column, read_labels
from models.branch_weights import combine_branches, fit_branch_weights
from models.devices import resolve_device
from models.embedding_alignment import align, fit_alignment
from models.network import PatternNetwork, build_network
from models.outputs import NetworkOutputs, gather_outputs
from models.pretrained import load_pretrained
from models.trainer import checkpoint_of, is_out_of_memory, make_trainer, out_of_memory_advice, quiet_lightning
from models.training_callbacks import EarlyStop, EpochHistory, EpochSeed, Progress, ProgressReport, WeightAverage
from models.training_module import Augment, PatternModule

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class RunContext:
    """What a training is called, where it writes and whom it tells.

    Attributes:
        seed: Weights, order, dropout and augmentation.
        run_dir: Receives ``history.csv`` and ``last.ckpt``, from which an interrupted run goes on; None writes nothing.
        progress: Told the epochs done.
        label: What this training is called there.
        finish: Last deterministic steps of the graph on a whole batch, for items that stop before them.
        augment: Random steps on a whole training batch, on its device.
    """

    seed: int = 0
    run_dir: Path | None = None
    progress: Progress | None = None
    label: str = "training"
    finish: Finish | None = None
    augment: Augment | None = None


@dataclass(frozen=True, eq=False)
class FittedMember:
    """One trained network.

    Attributes:
        network: On CPU, in evaluation mode.
        history: One row per epoch: ``epoch``, ``train_loss`` and, where there was one, ``validation_loss``.
        best_epoch: Epoch whose weights were kept; None when the last was.
    """

    network: PatternNetwork
    history: tuple[dict[str, float], ...]
    best_epoch: int | None = None


@dataclass(frozen=True, eq=False)
class CrossFit:
    """An ensemble with what each member says of the fold it never saw.

    Attributes:
        members: One per fold, embeddings in shared axes.
        outputs: Row n is what the member said that was not trained on row n: for calibration, conformal sets,
            out-of-distribution limits and the prognostic head.
    """

    members: tuple[FittedMember, ...]
    outputs: NetworkOutputs


def make_network(
    items: Items, spec: ModelSpec, settings: TrainingSettings, run: RunContext, *, quantitative: Tensor
) -> PatternNetwork:
    """A fresh network for the shapes of a dataset; quantitative CT scaled by its rows."""
    first = items[0] if run.finish is None else run.finish(items[0])
    num_channels = int(first[batch_keys.IMAGE].shape[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        network = build_network(spec, num_channels=num_channels, num_quantities=quantitative.shape[1])
    if network.encoder is not None:
        network.encoder.fit_scaling(quantitative)
    network.backbone.recompute_blocks = settings.recompute_blocks
    if settings.pretrained is not None:
        load_pretrained(network.backbone, settings.pretrained)
    return network


def make_callbacks(settings: TrainingSettings, run: RunContext, *, has_validation: bool) -> list[Callback]:
    """Callbacks in the order they must run: the average moves before early stopping looks at it."""
    callbacks: list[Callback] = [EpochSeed(run.seed), EpochHistory(run.run_dir)]
    average = WeightAverage(settings.ema_decay) if settings.ema_decay > 0 else None
    if average is not None:
        callbacks.append(average)
    if has_validation:
        callbacks.append(EarlyStop(settings.patience_epochs, average))
    if run.progress is not None:
        callbacks.append(ProgressReport(run.progress, run.label))
    return callbacks


def fit_member(
    train_items: Items,
    validation_items: Items | None,
    spec: ModelSpec,
    settings: TrainingSettings,
    run: RunContext = RunContext(),
) -> FittedMember:
    """Train one network.

    Args:
        train_items: Items of ``domain.batch_keys``.
        validation_items: Watched for early stopping and for choosing the epoch. Must hold no patient of the
            training items, nor of those the result is judged on. None keeps the last epoch.
        spec: Network.
        settings: Optimisation.
        run: Seed, folder and listener. Where the folder holds the checkpoint of an interrupted run, it goes on.

    Returns:
        The network, on CPU.
    """
    train_items = keep_resident(train_items, settings)
    targets, quantitative = read_labels(train_items)
    extents = read_column(train_items, batch_keys.AUXILIARY_TARGET)
    network = make_network(train_items, spec, settings, run, quantitative=quantitative)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        module = PatternModule(
            network,
            settings,
            targets,
            auxiliary_targets=quantitative if extents is None else torch.cat([quantitative, extents], dim=1),
            finish=run.finish,
            augment=run.augment,
        )
    callbacks = make_callbacks(settings, run, has_validation=validation_items is not None)
    loader = make_loader(train_items, settings, shuffle=True, seed=run.seed)
    watched = None if validation_items is None else make_loader(keep_resident(validation_items, settings), settings)
    digest = digest_of_training(spec, settings, run.seed, targets, quantitative)
    with quiet_lightning():
        trainer = make_trainer(settings, callbacks, run.run_dir)
        try:
            trainer.fit(module, loader, watched, ckpt_path=checkpoint_of(run.run_dir, digest), weights_only=True)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory_advice(settings, error) from error
            raise
    best_epoch = keep_best_weights(network, callbacks)
    history = next(callback.rows for callback in callbacks if isinstance(callback, EpochHistory))
    return FittedMember(network.cpu().eval(), tuple(history), best_epoch)


def digest_of_training(
    spec: ModelSpec, settings: TrainingSettings, seed: int, targets: Tensor, quantitative: Tensor
) -> str:
    """Digest of what decides the weights: network, optimisation, seed and data (by labels and quantitative CT)."""
    data = hashlib.sha256(targets.numpy().tobytes() + quantitative.numpy().tobytes()).hexdigest()
    return digest_of([spec.model_dump(mode="json"), settings.model_dump(mode="json"), seed, data])


def keep_best_weights(network: PatternNetwork, callbacks: Sequence[Callback]) -> int | None:
    """Load the best epoch's weights where there was a validation, else the averaged ones where there are any.

    Returns:
        The best epoch; None where the last one is kept.
    """
    for callback in callbacks:
        if isinstance(callback, EarlyStop) and callback.best_weights:
            network.load_state_dict(callback.best_weights)
            return callback.best_epoch
    for callback in callbacks:
        if isinstance(callback, WeightAverage) and callback.average:
            network.load_state_dict(callback.average)
    return None


def split_for_early_stopping(rows: Rows, groups: Sequence[str], *, seed: int, share: float = 0.2) -> tuple[Rows, Rows]:
    """Part of the training rows to watch, whole groups (patients) at a time.

    Args:
        rows: Row numbers to divide.
        groups: Group of every row of the dataset.
        seed: Which groups.
        share: Share of the groups to watch.

    Returns:
        (rows to train on, rows to watch), both sorted.
    """
    names = sorted({groups[row] for row in rows})
    chosen = np.random.default_rng(seed).permutation(len(names))[: max(round(share * len(names)), 1)]
    watched_names = {names[index] for index in chosen}
    watched = np.array([groups[row] in watched_names for row in rows])
    return np.sort(rows[~watched]), np.sort(rows[watched])


def cross_fit(
    items: Items,
    folds: Sequence[tuple[Rows, Rows]],
    spec: ModelSpec,
    settings: TrainingSettings,
    *,
    groups: Sequence[str] | None = None,
    run: RunContext = RunContext(),
) -> CrossFit:
    """Train one member per fold and let each judge the fold it did not see.

    Early stopping watches a part of each member's own training rows, never the fold held out: the out-of-fold
    outputs stay those of patients that nothing was chosen by.

    Args:
        items: N rows of ``domain.batch_keys``.
        folds: (rows to train on, rows held out) per fold; the held-out rows together are all rows, each once.
        spec: Network.
        settings: Optimisation. Early stopping is on when ``patience_epochs < max_epochs``.
        groups: Patient of each row; needed for early stopping. Each row is its own group where None.
        run: Member k trains with ``seed + k`` in ``run_dir/fold-<k>``.

    Raises:
        ValueError: The folds do not hold out every row once, or share a patient between their two sides.
    """
    check_folds(folds, count(items), groups)
    items = keep_resident(items, settings)
    names = [str(row) for row in range(count(items))] if groups is None else list(groups)
    members: list[FittedMember] = []
    for index, (train_rows, _) in enumerate(folds):
        watched_items = None
        if settings.patience_epochs < settings.max_epochs:
            train_rows, watched_rows = split_for_early_stopping(train_rows, names, seed=run.seed + index)
            watched_items = part_of(items, watched_rows.tolist())
        member_run = replace(
            run,
            seed=run.seed + index,
            run_dir=None if run.run_dir is None else run.run_dir / f"fold-{index}",
            label=f"member {index + 1} of {len(folds)}",
        )
        members.append(fit_member(part_of(items, train_rows.tolist()), watched_items, spec, settings, member_run))
    return CrossFit(tuple(members), gather_out_of_fold(members, items, folds, settings, run.finish))


def check_folds(folds: Sequence[tuple[Rows, Rows]], num_rows: int, groups: Sequence[str] | None) -> None:
    """Refuse folds that leak.

    Raises:
        ValueError: Says which fold, and what it shares or lacks.
    """
    held_out = np.sort(np.concatenate([rows for _, rows in folds]))
    if not np.array_equal(held_out, np.arange(num_rows)):
        raise ValueError(f"the folds must hold out each of {num_rows} rows once, found {len(held_out)} held out")
    for index, (train_rows, held_rows) in enumerate(folds):
        keys = [str(row) for row in range(num_rows)] if groups is None else groups
        shared = {keys[row] for row in train_rows} & {keys[row] for row in held_rows}
        if shared:
            raise ValueError(f"fold {index} trains on and holds out the same {len(shared)} patient(s): a leak")


def gather_out_of_fold(
    members: Sequence[FittedMember],
    items: Items,
    folds: Sequence[tuple[Rows, Rows]],
    settings: TrainingSettings,
    finish: Finish | None = None,
) -> NetworkOutputs:
    """Each row by the member that never saw it: embeddings in the axes of the first, branches weighted.

    How much each branch counts is fitted here, on what the branches say out of fold, and set in every member.
    """
    device = resolve_device(settings.device)
    loader = make_loader(items, settings, in_shares=False)
    everything = [gather_outputs(member.network.to(device), loader, device, finish) for member in members]
    reference = everything[0].embedding - everything[0].embedding.mean(axis=0)
    aligned = []
    for member, said in zip(members, everything, strict=True):
        fit_alignment(member.network.cpu().alignment, said.embedding, reference)
        aligned.append(replace(said, embedding=align(member.network.alignment, said.embedding)))
    rows = np.concatenate([held_out for _, held_out in folds])
    parts = [said.take(held_out) for said, (_, held_out) in zip(aligned, folds, strict=True)]
    outputs = NetworkOutputs.concatenate(parts).take(np.argsort(rows))
    weights = fit_branch_weights(outputs.branch_logits, outputs.targets)
    for member in members:
        member.network.branch_weights.copy_(torch.from_numpy(weights))
    return replace(outputs, logits=combine_branches(outputs.branch_logits, weights))
