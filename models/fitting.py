"""Fitting one network. Cross-fitting an ensemble is in `models/cross_fitting.py`; settings are read by `train.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from domain import batch_keys
from domain.settings import TrainingSettings
from domain.specs import ModelSpec, digest_of
from domain.whole_files import write_whole
from models.batches import Finish, Items, keep_resident, make_loader, read_column, read_labels
from models.network import PatternNetwork, build_network
from models.pretrained import load_pretrained
from models.quantitative_fit import fit_quantitative_branch
from models.starting_point import find_starting_point
from models.trainer import (
    check_processes,
    checkpoint_of,
    is_out_of_memory,
    make_trainer,
    out_of_memory_advice,
    quiet_lightning,
)
from models.training_callbacks import EarlyStop, EpochHistory, EpochSeed, Progress, ProgressReport, WeightAverage
from models.training_module import Augment, PatternModule

Rows = NDArray[np.int64]

STARTING_POINT = "starting_point.json"


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
        data_digest: Of what decides the weights and is seen nowhere else here: voxels, graph, augmentation. A
            checkpoint of another one is not gone on with.
    """

    seed: int = 0
    run_dir: Path | None = None
    progress: Progress | None = None
    label: str = "training"
    finish: Finish | None = None
    augment: Augment | None = None
    data_digest: str = ""


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
    check_processes(settings)
    train_items = keep_resident(train_items, settings)
    targets, quantitative = read_labels(train_items)
    extents = read_column(train_items, batch_keys.AUXILIARY_TARGET)
    network = make_network(train_items, spec, settings, run, quantitative=quantitative)
    if network.encoder is not None and network.backbone.sees_image:
        fit_quantitative_branch(network, quantitative, targets, settings, run.seed)
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
    tables = [targets, quantitative, *([] if extents is None else [extents])]
    digest = digest_of_training(spec, settings, run, tables)
    try:
        settings = started_settings(module, train_items, settings, run.run_dir, digest)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise out_of_memory_advice(settings, error) from error
        raise
    module.settings = settings
    callbacks = make_callbacks(settings, run, has_validation=validation_items is not None)
    loader = make_loader(train_items, settings, shuffle=True, seed=run.seed)
    watched = None if validation_items is None else make_loader(keep_resident(validation_items, settings), settings)
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
    return FittedMember(network.cpu().eval().requires_grad_(), tuple(history), best_epoch)


def started_settings(
    module: PatternModule, items: Items, settings: TrainingSettings, run_dir: Path | None, digest: str
) -> TrainingSettings:
    """The settings with batch size and learning rate filled in where they are open.

    What was chosen is kept in the run folder, so that an interrupted run goes on with it.
    """
    if settings.batch_size is not None and settings.learning_rate is not None:
        return settings
    path = None if run_dir is None else run_dir / STARTING_POINT
    stored = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
    if stored.get("digest") != digest:
        stored = asdict(find_starting_point(module, items, settings)) | {"digest": digest}
        if path is not None:
            write_whole(path, json.dumps(stored, indent=1))
    return settings.started(**{name: value for name, value in stored.items() if name != "digest"})


def digest_of_training(spec: ModelSpec, settings: TrainingSettings, run: RunContext, tables: Sequence[Tensor]) -> str:
    """Digest of what decides the weights: network, optimisation, seed, data (by its tables and ``data_digest``)."""
    data = hashlib.sha256(b"".join(table.numpy().tobytes() for table in tables)).hexdigest()
    return digest_of([spec.model_dump(mode="json"), settings.model_dump(mode="json"), run.seed, run.data_digest, data])


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
