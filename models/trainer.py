"""The Lightning trainer of one network: devices, processes, checkpoints, loggers. What is trained is not here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger

from domain.errors import SettingsError
from domain.settings import TrainingSettings
from domain.whole_files import write_whole
from models.devices import resolve_device

CHECKPOINT = "last.ckpt"
DIGEST = "digest.txt"

# Lightning announces its devices and sells its products at INFO; whoever wants that can turn it on again.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

# Lightning's advice that does not apply: we choose workers, logging interval and device ourselves.
SILENCED = (
    ".*does not have many workers.*",
    ".*number of training batches.*smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*treespec, LeafSpec.*",
    ".*have no `val_dataloader`.*",
    ".*`isinstance\\(treespec.*",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without the warnings listed in ``SILENCED``; all others pass."""
    with catch_warnings():
        for message in SILENCED:
            filterwarnings("ignore", message=message)
        yield


def is_first_process() -> bool:
    """This process is the one that writes files; true wherever there is only one.

    Known before any process group exists, from what `torchrun` and SLURM set.
    """
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def check_processes(settings: TrainingSettings) -> None:
    """Refuse settings that several processes cannot share.

    Raises:
        SettingsError: Says what to change.
    """
    if settings.num_devices * settings.num_nodes == 1:
        return
    problems = []
    if "RANK" not in os.environ and "SLURM_PROCID" not in os.environ:
        start = f"torchrun --nproc-per-node={settings.num_devices} train.py CONFIG"
        problems.append(
            f"num_devices={settings.num_devices} needs one process per GPU; start it with: {start} (or SLURM)"
        )
    if settings.batch_size is None or settings.learning_rate is None:
        problems.append("batch_size and learning_rate must be given for several processes: each would choose its own")
    if problems:
        raise SettingsError("training", problems)


def make_trainer(settings: TrainingSettings, callbacks: list[Callback], run_dir: Path | None) -> lightning.Trainer:
    """A trainer; with a run folder it keeps the last epoch there, for resuming.

    Raises:
        SettingsError: A device or a logger is asked for that is not there.
    """
    device = resolve_device(settings.device)
    if run_dir is not None:
        keep_last = ModelCheckpoint(
            run_dir, filename=Path(CHECKPOINT).stem, save_on_train_epoch_end=True, enable_version_counter=False
        )
        callbacks = [*callbacks, keep_last]
    num_processes = settings.num_devices * settings.num_nodes
    return lightning.Trainer(
        max_epochs=settings.max_epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.num_devices,
        num_nodes=settings.num_nodes,
        strategy="ddp" if num_processes > 1 else "auto",
        sync_batchnorm=num_processes > 1,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate_batches,
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=make_loggers(settings, run_dir) or False,
        enable_checkpointing=run_dir is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # models.batches.EpochOrder deals rows out to processes
    )


def make_loggers(settings: TrainingSettings, run_dir: Path | None) -> list[Logger]:
    """Loggers beside ``history.csv``, which is always written.

    Raises:
        SettingsError: The package of a logger is not installed, or there is no run folder to log into.
    """
    loggers: list[Logger] = []
    for name in settings.loggers:
        if run_dir is None:
            raise SettingsError("training.loggers", [f"{name!r} needs a run folder"])
        try:
            if name == "tensorboard":
                loggers.append(TensorBoardLogger(run_dir, name="tensorboard", version=""))
            else:
                loggers.append(MLFlowLogger(run_dir.parent.parent.name, run_name=run_dir.name))
        except ModuleNotFoundError as error:
            fix = "pip install 'myolung[track]'" if name == "mlflow" else "pip install tensorboard"
            raise SettingsError("training.loggers", [f"{name!r} is not installed: {fix}"]) from error
    return loggers


def checkpoint_of(run_dir: Path | None, digest: str) -> str | None:
    """Checkpoint of an interrupted training with the same data and settings, if the folder holds one.

    Args:
        run_dir: Folder of the run.
        digest: Of everything that decides the weights. Another digest there means another training: it starts anew.
    """
    if run_dir is None:
        return None
    path, digest_path = run_dir / CHECKPOINT, run_dir / DIGEST
    is_same = digest_path.is_file() and digest_path.read_text(encoding="utf-8") == digest
    if path.is_file() and is_same:
        return str(path)
    if is_first_process():
        path.unlink(missing_ok=True)
        write_whole(digest_path, digest)
    return None


def out_of_memory_advice(settings: TrainingSettings, error: Exception) -> SettingsError:
    """What to change when the GPU's memory is too small, most effective first."""
    halves: list[str] = []
    if settings.precision == "32":
        halves.append("training.precision=bf16-mixed (about half the memory)")
    if not settings.recompute_blocks:
        halves.append("training.recompute_blocks=true (about a third, for a third more time)")
    if settings.chosen_batch_size > 1:
        half = settings.chosen_batch_size // 2
        halves.append(
            f"training.batch_size={half} with training.accumulate_batches={settings.accumulate_batches * 2} "
            "(the same gradient)"
        )
    halves.append("a preprocess with a coarser spacing_mm, or a narrower backbone")
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SettingsError(
        "training", [f"the network does not fit into memory: {first_line}", *(f"try {h}" for h in halves)]
    )


def is_out_of_memory(error: BaseException) -> bool:
    """The device's memory was exhausted; torch raises its own type on CUDA and a plain RuntimeError on CPU."""
    name: Any = type(error).__name__
    return name == "OutOfMemoryError" or "can't allocate memory" in str(error)
