"""Training samples per second beside a stock MONAI loop with the same network, and what bounds each; inference."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from network_cohorts import Cohort, load_graph
from network_jobs import NETWORKS, augment_of, macro_auc, on_device, resident
from torch.profiler import ProfilerActivity, profile

from data_pipeline.graph import split_preprocess
from domain import batch_keys
from domain.settings import TrainingSettings
from domain.specs import ComponentSpec, ModelSpec
from models.batches import make_loader
from models.devices import place
from models.fitting import RunContext, fit_member
from models.network import PatternNetwork, build_network
from models.outputs import gather_outputs

BATCH_SIZE = 8
LOADER_WORKERS = 4
STOCK_LEARNING_RATE, OUR_LEARNING_RATE = 1e-4, 3e-3


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def spec_of(name: str) -> ModelSpec:
    backbone, params, use_quantitative, _ = NETWORKS[name]
    return ModelSpec(backbone=ComponentSpec(name=backbone, version=1, params=params), use_quantitative=use_quantitative)


def stock_loop(
    name: str,
    cohort: Cohort,
    graph: str,
    device: torch.device,
    *,
    num_epochs: int,
    with_augment: bool,
    learning_rate: float = STOCK_LEARNING_RATE,
) -> tuple[dict[str, Any], PatternNetwork]:
    """The loop of MONAI's tutorials: CacheDataset, random transforms in loader workers, fp32, Adam; its network."""
    _, finish = split_preprocess(load_graph(graph))
    rows = [
        {
            "image": finish({key: values[row] for key, values in resident(cohort).tensors.items()})[batch_keys.IMAGE],
            "quantitative": cohort.quantitative[row],
            "label": cohort.targets[row].argmax(),
        }
        for row in range(len(cohort))
    ]
    random_steps = [
        RandFlipd("image", prob=0.5, spatial_axis=0),
        RandAffined(
            "image", prob=0.5, rotate_range=(0, 0, 0.14), scale_range=0.08, translate_range=8, padding_mode="zeros"
        ),
        RandScaleIntensityd("image", factors=0.03, prob=0.5),
        RandShiftIntensityd("image", offsets=0.02, prob=0.5),
        RandGaussianNoised("image", prob=0.5, std=0.03),
    ]
    dataset = CacheDataset(rows, Compose(random_steps if with_augment else []), progress=False)
    loader = DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=LOADER_WORKERS,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )
    network = build_network(
        spec_of(name), num_channels=rows[0]["image"].shape[0], num_quantities=cohort.quantitative.shape[1]
    ).to(device)
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    loss_of = torch.nn.CrossEntropyLoss()
    network.train()
    rates, waits = [], []
    for _ in range(num_epochs + 1):
        synchronize(device)
        started = last = time.perf_counter()
        waited, seen = 0.0, 0
        for batch in loader:
            waited += time.perf_counter() - last
            image, quantitative = batch["image"].to(device), batch["quantitative"].to(device)
            optimiser.zero_grad()
            loss = loss_of(network(torch.as_tensor(image), quantitative)["pattern_logits"], batch["label"].to(device))
            loss.backward()
            optimiser.step()
            loss.item()  # as the tutorials log it
            seen += len(image)
            last = time.perf_counter()
        synchronize(device)
        seconds = time.perf_counter() - started
        rates.append(seen / seconds)
        waits.append(waited / seconds)
    return summary(rates[1:]) | {"waiting_for_data": statistics.median(waits[1:])}, network


def our_loop(
    name: str, cohort: Cohort, graph: str, device: torch.device, *, num_epochs: int, **changes: Any
) -> tuple[dict[str, Any], PatternNetwork]:
    """What ``train.py`` runs, scans resident on the device; seconds between ends of epochs, the first left out."""
    _, finish = split_preprocess(load_graph(graph), device=str(device))
    with_augment = changes.pop("with_augment", True)
    settings = TrainingSettings.model_validate(
        {
            "max_epochs": num_epochs + 2,
            "batch_size": BATCH_SIZE,
            "device": device.type,
            "ema_decay": 0.98,
            "patience_epochs": 1000,
            "precision": "bf16-mixed" if device.type == "cuda" else "32",
            **changes,
        }
    )
    ends: list[float] = []

    def note(text: str, done: int, total: int) -> None:
        del text, done, total
        synchronize(device)
        ends.append(time.perf_counter())

    augment = augment_of("mild") if with_augment else None
    items = on_device(resident(cohort), device)
    started = time.perf_counter()
    run = RunContext(progress=note, finish=finish, augment=augment)
    member = fit_member(items, None, spec_of(name), settings, run)
    rates = [len(cohort) / (after - before) for before, after in pairwise(ends[1:])]
    return summary(rates) | {"first_epoch_s": ends[0] - started}, member.network


def validation_scores(
    cohort: Cohort, graph: str, device: torch.device, *, num_epochs: int, name: str = "small_cnn_3d, image alone"
) -> dict[str, Any]:
    """Macro AUC on a third of the patients after both loops have seen the rest as often: speed is not bought with it.

    Plain images in both, as the stock loop's random transforms would take most of the time. ``train.py``'s defaults
    beside the tutorials' Adam at 1e-4 and, in case that rate is what holds it back, at our rate.
    """
    part = len(cohort) * 2 // 3
    train, test = cohort.take(range(part)), cohort.take(range(part, len(cohort)))
    _, finish = split_preprocess(load_graph(graph), device=str(device))

    def score(network: PatternNetwork) -> float:
        settings = TrainingSettings(batch_size=BATCH_SIZE, device=device.type)  # type: ignore[arg-type]
        loader = make_loader(on_device(resident(test), device), settings, in_shares=False)
        said = gather_outputs(place(network, device), loader, device, finish)
        return macro_auc(said.logits, said.targets)

    stock = {"with_augment": False, "num_epochs": num_epochs - 1}  # it runs one more, to warm up
    _, ours = our_loop(
        name, train, graph, device, num_epochs=num_epochs - 2, with_augment=False, learning_rate=OUR_LEARNING_RATE
    )
    found: dict[str, Any] = {
        "num_training": len(train),
        "num_test": len(test),
        "epochs": num_epochs,
        "ours": score(ours),
    }
    for rate in (STOCK_LEARNING_RATE, OUR_LEARNING_RATE):
        _, network = stock_loop(name, train, graph, device, learning_rate=rate, **stock)
        found[f"stock_at_{rate:g}"] = score(network)
    return found


def summary(rates: list[float]) -> dict[str, Any]:
    return {
        "samples_per_s": statistics.median(rates),
        "least": min(rates),
        "most": max(rates),
        "repeats": len(rates),
    }


def profile_training(name: str, cohort: Cohort, graph: str, device: torch.device) -> dict[str, Any]:
    """Share of the wall time the GPU is busy during training, and the kernels that take most of it."""
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        synchronize(device)
        started = time.perf_counter()
        our_loop(name, cohort, graph, device, num_epochs=2)
        synchronize(device)
        seconds = time.perf_counter() - started
    events = sorted(found.key_averages(), key=lambda event: -event.self_device_time_total)
    busy = max(sum(event.self_device_time_total for event in events) / 1e6, 1e-9)
    top = [
        [event.key[:90], event.count, round(event.self_device_time_total / 1e6 / max(busy, 1e-9), 3)]
        for event in events[:8]
    ]
    return {"wall_s": seconds, "gpu_busy_s": busy, "gpu_busy_share": busy / seconds, "kernels": top}


def inference(name: str, cohort: Cohort, graph: str, device: torch.device, *, repeats: int = 7) -> dict[str, Any]:
    """Scans per second of one member, from the device's and from the machine's memory."""
    _, finish = split_preprocess(load_graph(graph), device=str(device))
    settings = TrainingSettings(batch_size=BATCH_SIZE, device=device.type)  # type: ignore[arg-type]
    channels = finish({key: values[0] for key, values in resident(cohort).tensors.items()})[batch_keys.IMAGE].shape[0]
    quantities = cohort.quantitative.shape[1]
    network = place(build_network(spec_of(name), num_channels=channels, num_quantities=quantities), device)
    found = {}
    for memory, items in {"device": on_device(resident(cohort), device), "host": resident(cohort)}.items():
        rates = []
        for _ in range(repeats + 1):
            synchronize(device)
            started = time.perf_counter()
            gather_outputs(network, make_loader(items, settings, in_shares=False), device, finish)
            synchronize(device)
            rates.append(len(cohort) / (time.perf_counter() - started))
        found[f"from_{memory}_memory"] = summary(rates[1:])
    return found


def measure_speed(
    cohort: Cohort, graph: str, device: torch.device, *, names: list[str], epochs: int, say: Callable[[str], None]
) -> Any:
    """All of it; yields what is known so far after every part, so that running out of time loses little."""
    found: dict[str, Any] = {"batch_size": BATCH_SIZE, "loader_workers": LOADER_WORKERS, "num_scans": len(cohort)}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    for name in names:
        parts: dict[str, Callable[[], Any]] = {
            "ours": lambda name=name: our_loop(name, cohort, graph, device, num_epochs=epochs)[0],
            "stock": lambda name=name: stock_loop(name, cohort, graph, device, num_epochs=epochs, with_augment=True)[0],
            "ours_without_augmentation": lambda name=name: our_loop(
                name, cohort, graph, device, num_epochs=epochs, with_augment=False
            )[0],
            "stock_without_augmentation": lambda name=name: stock_loop(
                name, cohort, graph, device, num_epochs=epochs, with_augment=False
            )[0],
            "ours_fp32": lambda name=name: our_loop(name, cohort, graph, device, num_epochs=epochs, precision="32")[0],
            "profile": lambda name=name: profile_training(name, cohort, graph, device),
            "inference": lambda name=name: inference(name, cohort, graph, device),
            "ours_compiled": lambda name=name: our_loop(
                name, cohort, graph, device, num_epochs=epochs, compile_network=True
            )[0],
        }
        own = found.setdefault(name, {})
        for part, run in parts.items():
            try:
                own[part] = run()
            except Exception as error:  # noqa: BLE001  # a benchmark says what failed and goes on
                own[part] = {"error": f"{type(error).__name__}: {error}"[:300]}
            say(f"speed, {name}, {part}: {own[part].get('samples_per_s', own[part])}"[:200])
            yield found
        if "samples_per_s" in own["ours"] and "samples_per_s" in own["stock"]:
            own["ratio"] = own["ours"]["samples_per_s"] / own["stock"]["samples_per_s"]
            yield found
