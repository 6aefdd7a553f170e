"""Cross-fitting an ensemble whose out-of-fold outputs calibration may trust.

Making splits and writing the artefact are not here: see `train.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from domain.settings import TrainingSettings
from domain.specs import ModelSpec
from models.batches import Finish, Items, count, keep_resident, make_loader, part_of, read_labels
from models.branch_weights import combine_branches, fit_branch_weights
from models.devices import resolve_device
from models.embedding_alignment import align, fit_alignment
from models.fitting import FittedMember, RunContext, fit_member
from models.outputs import NetworkOutputs, gather_outputs

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]


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


def split_for_early_stopping(
    rows: Rows, groups: Sequence[str], labelled: NDArray[np.bool_], *, seed: int, share: float = 0.2
) -> tuple[Rows, Rows]:
    """Part of the training rows to watch, whole groups (patients) at a time.

    Args:
        rows: Row numbers to divide.
        groups: Group of every row of the dataset.
        labelled: Of every row of the dataset: a row without a label shows no loss and is not watched.
        seed: Which groups.
        share: Share of the groups with a label to watch.

    Returns:
        (rows to train on, rows to watch), both sorted; nothing to watch where fewer than two groups have a label.
    """
    names = sorted({groups[row] for row in rows if labelled[row]})
    count = max(round(share * len(names)), 1) if len(names) > 1 else 0
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    watched_names = {names[index] for index in chosen}
    watched = np.array([groups[row] in watched_names for row in rows])
    return np.sort(rows[~watched]), np.sort(rows[watched & labelled[rows]])


def cross_fit(
    items: Items,
    folds: Sequence[tuple[Rows, Rows]],
    spec: ModelSpec,
    settings: TrainingSettings,
    *,
    groups: Sequence[str] | None = None,
    run: RunContext | None = None,
) -> CrossFit:
    """Train one member per fold and let each judge the fold it did not see.

    Early stopping watches a part of each member's own training rows, never the fold held out: the out-of-fold
    outputs stay those of patients that nothing was chosen by.

    Args:
        items: N rows of ``domain.batch_keys``.
        folds: (rows to train on, rows held out) per fold; every row is held out once, or equally often: repeated
            cross-fitting makes more members, and the mean of those that did not see a row stands for the ensemble.
        spec: Network.
        settings: Optimisation. Early stopping is on when ``patience_epochs < max_epochs``.
        groups: Patient of each row; needed for early stopping. Each row is its own group where None.
        run: Member k trains with ``seed + k`` in ``run_dir/fold-<k>``.

    Raises:
        ValueError: The folds do not hold out every row equally often, or share a patient between their two sides.
    """
    run = run or RunContext()
    check_folds(folds, count(items), groups)
    items = keep_resident(items, settings)
    names = [str(row) for row in range(count(items))] if groups is None else list(groups)
    labelled = read_labels(items)[0].isfinite().all(dim=1).numpy()
    members: list[FittedMember] = []
    for index, (train_rows, _) in enumerate(folds):
        watched_items = None
        if settings.patience_epochs < settings.max_epochs:
            train_rows, watched_rows = split_for_early_stopping(train_rows, names, labelled, seed=run.seed + index)
            watched_items = part_of(items, watched_rows.tolist()) if len(watched_rows) else None
            if watched_items is None:
                logger.warning("member %d: too few labelled patients to watch; it trains for all epochs", index + 1)
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
    times = np.bincount(np.concatenate([rows for _, rows in folds]), minlength=num_rows)
    if len(times) != num_rows or times.min() < 1 or times.min() != times.max():
        raise ValueError(
            f"the folds must hold out each of {num_rows} rows equally often, found {times.min()} to {times.max()} times"
        )
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
    """Each row by the members that never saw it (their mean): embeddings in the axes of the first, branches weighted.

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
    by_row = NetworkOutputs.concatenate(parts).take(np.argsort(rows, kind="stable"))
    outputs = by_row.mean_of_each(len(rows) // count(items))
    weights = fit_branch_weights(outputs.branch_logits, outputs.targets)
    for member in members:
        member.network.branch_weights.copy_(torch.from_numpy(weights))
    return replace(outputs, logits=combine_branches(outputs.branch_logits, weights))
