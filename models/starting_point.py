"""Where to start: a batch size from the cohort and the memory, a learning rate from a short range test."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from domain.settings import TrainingSettings
from models.batches import Items, count, make_loader
from models.devices import resolve_device
from models.trainer import is_out_of_memory
from models.training_module import Batch, PatternModule

logger = logging.getLogger(__name__)

MIN_BATCH, MAX_BATCH = 4, 32
STEPS_PER_EPOCH = 16  # at least so many steps an epoch: a small cohort in two large batches learns slowly
MEMORY_SHARE = 0.8  # of the GPU's free memory that one step may take

LOWEST_RATE, HIGHEST_RATE = 1e-5, 3e-2
NUM_STEPS = 40
SMOOTHING = 0.8
BLOWN_UP = 1.5  # times the best loss so far: further up, the rate is certainly too high
BELOW_BEST = 5.0  # the rate is taken this far below that of the lowest loss
FALLBACK_RATE = 1e-3


@dataclass(frozen=True)
class StartingPoint:
    """What training begins with.

    Attributes:
        batch_size: Scans per step on the device.
        accumulate_batches: Steps added up, so that the gradient is that of the batch the cohort asks for.
        learning_rate: Height of the schedule.
    """

    batch_size: int
    accumulate_batches: int
    learning_rate: float


def batch_size_for(num_rows: int) -> int:
    """The largest power of two that leaves ``STEPS_PER_EPOCH`` steps, between ``MIN_BATCH`` and ``MAX_BATCH``.

    >>> [batch_size_for(rows) for rows in (30, 100, 400, 2000)]
    [4, 4, 16, 32]
    """
    fitting = 1 << math.floor(math.log2(max(num_rows / STEPS_PER_EPOCH, 1)))
    return min(max(fitting, MIN_BATCH), MAX_BATCH)


def fitting_batch(batch_size: int, peaks: tuple[int, int], free_bytes: int) -> int:
    """The batch halved until a step fits.

    Args:
        batch_size: What the cohort asks for.
        peaks: Bytes taken by a step of one scan and of two.
        free_bytes: What the device has.
    """
    per_scan = max(peaks[1] - peaks[0], 1)
    fixed = max(peaks[0] - per_scan, 0)
    while batch_size > 1 and fixed + batch_size * per_scan > MEMORY_SHARE * free_bytes:
        batch_size //= 2
    return batch_size


def choose_rate(rates: list[float], losses: list[float]) -> float:
    """From a range test: ``BELOW_BEST`` under the rate at which the smoothed loss was lowest.

    Args:
        rates: Rising.
        losses: After a step at each, raw.

    Source:
        Smith 2017, "Cyclical learning rates"; the divisor stands for the distance between where the loss is lowest in
        a test of forty steps and where training stays stable for thousands (assumed).
    """
    smooth, best, best_rate = losses[0], math.inf, rates[0]
    for rate, loss in zip(rates, losses, strict=True):
        smooth = SMOOTHING * smooth + (1 - SMOOTHING) * loss
        if not math.isfinite(smooth) or smooth > BLOWN_UP * best:
            break
        if smooth < best:
            best, best_rate = smooth, rate
    return min(max(best_rate / BELOW_BEST, LOWEST_RATE), HIGHEST_RATE)


def find_starting_point(module: PatternModule, items: Items, settings: TrainingSettings) -> StartingPoint:
    """Fill in what the settings leave open (``null``): both are found on a copy, the module stays as it is.

    Args:
        module: Untrained.
        items: Training rows.
        settings: Values given there are kept.
    """
    asked = settings.batch_size or batch_size_for(count(items))
    batch_size = asked
    trial = copy.deepcopy(module).to(resolve_device(settings.device)).train()
    if settings.batch_size is None and trial.device.type == "cuda":
        batch_size = fitting_batch(asked, *_measured_memory(trial, items, settings))
    rate = settings.learning_rate or _range_test(trial, items, settings.started(batch_size=batch_size))
    accumulate = settings.accumulate_batches * max(asked // batch_size, 1)
    logger.info("batch of %d, %d accumulated, learning rate %.2g", batch_size, accumulate, rate)
    return StartingPoint(batch_size, accumulate, rate)


def _batches(items: Items, settings: TrainingSettings, device: torch.device) -> list[Batch]:
    loader = make_loader(items, settings, shuffle=True, seed=0)
    return [{key: value.to(device) for key, value in batch.items()} for _, batch in zip(range(4), loader, strict=False)]


def _measured_memory(trial: PatternModule, items: Items, settings: TrainingSettings) -> tuple[tuple[int, int], int]:
    """Peak bytes of a step of one scan and of two, and what is free."""
    device = trial.device
    free, _ = torch.cuda.mem_get_info(device)
    batch = _batches(items, settings.started(batch_size=2), device)[0]
    peaks = []
    for size in (1, 2):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            _loss(trial, {key: value[:size] for key, value in batch.items()}, settings).backward()  # type: ignore[no-untyped-call]  # untyped library
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return (free, 2 * free), free
        trial.zero_grad(set_to_none=True)
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
    return (peaks[0], peaks[1]), free


def _range_test(trial: PatternModule, items: Items, settings: TrainingSettings) -> float:
    """Train the copy for a few steps at a rising rate."""
    batches = _batches(items, settings, trial.device)
    if not batches:
        return FALLBACK_RATE
    rates = [LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (step / (NUM_STEPS - 1)) for step in range(NUM_STEPS)]
    optimiser = torch.optim.AdamW(trial.parameters(), lr=rates[0], weight_decay=settings.weight_decay)
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step, rate in enumerate(rates):
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(trial, batches[step % len(batches)], settings)
            loss.backward()  # type: ignore[no-untyped-call]  # untyped library
            torch.nn.utils.clip_grad_norm_(trial.parameters(), settings.gradient_clip)
            optimiser.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                break
    return choose_rate(rates[: len(losses)], losses)


def _loss(trial: PatternModule, batch: Batch, settings: TrainingSettings) -> Tensor:
    is_mixed = settings.precision != "32"
    dtype = torch.float16 if settings.precision == "16-mixed" else torch.bfloat16
    with torch.autocast(trial.device.type, dtype=dtype, enabled=is_mixed):
        loss: Tensor = trial.training_loss(batch)
    return loss
