"""Synthetic cohorts for the network benchmarks, made in memory on all cores: phantom -> graph -> network inputs.

No DICOM is written or read: the phantom's voxels go straight into the graph that reading would feed.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms.compose import Compose
from numpy.typing import NDArray
from scipy import ndimage

from data_pipeline.graph import run_graph
from data_pipeline.phantoms.acquisition import load_acquisition_settings
from data_pipeline.phantoms.cohort import make_planned_scan, plan_scan
from data_pipeline.phantoms.patients import CohortSettings, PatientTruth, draw_truths
from data_pipeline.phantoms.scan import Scan
from data_pipeline.transforms import TRANSFORMS
from domain.affine import Affine
from domain.batch_keys import IMAGE, IMAGE_MASK, IMAGE_TISSUE, QUANTITATIVE
from domain.config_files import config_path
from domain.errors import StudyError
from domain.patterns import PATTERNS
from domain.records import Case
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings
from domain.volume import AIR_HU, Acquisition, Volume

SHARED_STEPS = 3  # orient, lungs, quantify: the same at the head of every shipped graph
MEASURED = ("ground_glass", "reticulation", "consolidation", "honeycombing")

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Cell:
    """An acquisition forced on scans: slice thickness in mm (0 keeps the scan's own), and the kernel."""

    thickness_mm: float
    is_sharp: bool

    @property
    def name(self) -> str:
        return f"{self.thickness_mm:g} mm {'sharp' if self.is_sharp else 'soft'}"


@dataclass(frozen=True)
class Wanted:
    """A cohort to make.

    Attributes:
        settings: Of the synthetic patients.
        cell: Acquisition forced on every scan, or on every second one.
        is_every_second: The cell is forced on patients of odd number only.
        patients: Which of them; all where None.
        variant: Key of ``VARIANTS``: what is done to every volume, for scans that are none of the disease.
    """

    settings: CohortSettings
    cell: Cell | None = None
    is_every_second: bool = False
    patients: Sequence[int] | None = None
    variant: str = ""


@dataclass(frozen=True)
class Scanned:
    """What one scan became: arrays per graph, or the code it was refused with."""

    index: int
    arrays: dict[str, Arrays]
    extents: dict[str, float]
    vendor: str
    kernel: str
    thickness_mm: float
    seconds: tuple[float, float]
    refused: str = ""


@dataclass(frozen=True)
class Cohort:
    """Rows of one graph: everything training and evaluation ask for, still before windows.

    Attributes:
        images: (N, 1, I, J, K) int16 HU.
        masks: (N, 1, I, J, K) uint8.
        tissue: (N, T, I, J, K) uint8, percent; T is 0 for a graph without it.
        quantitative: (N, Q) float32.
        targets: (N, 4) float32.
        extents: (N, len(MEASURED)) percent of lung, from the truth.
    """

    images: torch.Tensor
    masks: torch.Tensor
    tissue: torch.Tensor
    quantitative: torch.Tensor
    targets: torch.Tensor
    extents: torch.Tensor
    cases: tuple[Case, ...]
    scanned: tuple[Scanned, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int]) -> Cohort:
        at = torch.as_tensor(rows)
        return Cohort(
            self.images[at],
            self.masks[at],
            self.tissue[at],
            self.quantitative[at],
            self.targets[at],
            self.extents[at],
            tuple(self.cases[row] for row in rows),
            tuple(self.scanned[row] for row in rows),
        )


@dataclass(frozen=True)
class Work:
    """One scan to make. Crosses to a worker."""

    settings: CohortSettings
    truth: PatientTruth
    graphs: tuple[str, ...]
    cell: Cell | None = None
    variant: str = ""


def volume_of(scan: Scan, acquisition: Acquisition) -> Volume:
    """The scan as a reader would hand it over: (I, J, K), RAS affine."""
    z, y, x = scan.grid.origin_mm
    gap, row, column = scan.grid.spacing_mm
    matrix = np.diag([-column, -row, gap, 1.0])  # the phantom's x and y run left and back
    matrix[:3, 3] = (-x, -y, z)
    voxels = np.maximum(scan.hu, AIR_HU).transpose(2, 1, 0)
    return Volume(voxels, Affine(matrix), acquisition)


Voxels = NDArray[np.int16]


def upside_down(voxels: Voxels, generator: np.random.Generator) -> Voxels:
    del generator
    return voxels[:, :, ::-1]


def noise(voxels: Voxels, generator: np.random.Generator) -> Voxels:
    return generator.integers(-1000, 200, voxels.shape).astype(np.int16)


def empty(voxels: Voxels, generator: np.random.Generator) -> Voxels:
    del generator
    return np.full_like(voxels, -1000)


def blurred(voxels: Voxels, generator: np.random.Generator) -> Voxels:
    del generator
    return ndimage.gaussian_filter(voxels.astype(np.float32), 3.0).astype(np.int16)


def test_object(voxels: Voxels, generator: np.random.Generator) -> Voxels:
    """A cylinder of water with two chambers of foam: no chest, but two dark halves."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in voxels.shape), indexing="ij")
    found = np.where(x**2 + y**2 < 0.85, 0.0, -1000.0)
    radius, density = generator.uniform(0.25, 0.36), generator.uniform(-900, -650)
    for side in (-1, 1):
        found[((x - side * 0.42) ** 2 + y**2 < radius**2) & (np.abs(z) < 0.8)] = density
    return (found + 20 * generator.standard_normal(voxels.shape)).astype(np.int16)


VARIANTS: dict[str, Callable[[Voxels, np.random.Generator], Voxels]] = {
    "upside_down": upside_down,
    "noise": noise,
    "empty": empty,
    "blurred": blurred,
    "test_object": test_object,
}


def load_graph(name: str) -> PreprocessSpec:
    """A graph of this benchmark, or a shipped one; lungs and quantities always as the shipped graphs find them."""
    shipped = load_settings(PreprocessSpec, config_path("preprocess/small_3d.yaml"))
    own = Path(__file__).parent / "preprocess" / f"{name}.yaml"
    if not own.exists():
        return load_settings(PreprocessSpec, config_path(f"preprocess/{name}.yaml"))
    spec = load_settings(PreprocessSpec, own)
    return PreprocessSpec(name=name, steps=(*shipped.steps[:SHARED_STEPS], *spec.steps))


def run_graphs(volume: Volume, names: Sequence[str]) -> dict[str, Arrays]:
    """Lungs and quantities once, then the rest of each graph up to the windows."""
    specs = {name: load_graph(name) for name in names}
    first = next(iter(specs.values()))
    shared = run_graph(Compose([TRANSFORMS.build(step, device="cpu") for step in first.steps[:SHARED_STEPS]]), volume)
    found: dict[str, Arrays] = {}
    for name, spec in specs.items():
        assert spec.steps[:SHARED_STEPS] == first.steps[:SHARED_STEPS]
        steps = [TRANSFORMS.build(step, device="cpu") for step in spec.steps[SHARED_STEPS:-1]]
        result = Compose(steps)(shared)
        arrays = {IMAGE_TISSUE: result[IMAGE_MASK][:0], **result}  # no map where the graph makes none
        found[name] = {key: np.asarray(arrays[key]) for key in (IMAGE, IMAGE_MASK, IMAGE_TISSUE, QUANTITATIVE)}
    return found


def make_one(work: Work) -> Scanned:
    torch.set_num_threads(1)
    started = time.perf_counter()
    planned = plan_scan(work.settings, work.truth.columns, work.truth.index)
    plan = planned.acquisition
    if work.cell is not None:
        plan = in_cell(plan, work.cell)
        planned = replace(planned, acquisition=plan)
    scan = make_planned_scan(work.settings, planned, work.truth.index)
    made = time.perf_counter()
    extents = {name: float(scan.extents.get(name, 0.0)) for name in MEASURED}
    facts = Acquisition(slice_thickness_mm=plan.thickness_mm, is_sequential=plan.is_sequential)
    arrays, refused = {}, ""
    try:
        volume = volume_of(scan, facts)
        if work.variant:
            generator = np.random.default_rng(work.truth.index)
            volume = replace(volume, voxels=VARIANTS[work.variant](volume.voxels, generator))
        arrays = run_graphs(volume, work.graphs)
    except StudyError as error:
        refused = error.code.value
    seconds = (made - started, time.perf_counter() - made)
    return Scanned(work.truth.index, arrays, extents, plan.vendor, plan.kernel, plan.thickness_mm, seconds, refused)


def in_cell(plan: Any, cell: Cell) -> Any:
    """The same scan with another thickness and kernel; noise as the kernel and the thickness make it."""
    settings = load_acquisition_settings()
    old, new = (settings.kernels.sharp if sharp else settings.kernels.soft for sharp in (plan.is_sharp, cell.is_sharp))
    if cell.thickness_mm == 0:
        noise_hu = plan.noise_hu / old.noise_factor * new.noise_factor
        return replace(plan, is_sharp=cell.is_sharp, noise_hu=float(noise_hu))
    step = min(cell.thickness_mm, 1.25)
    count = round(cell.thickness_mm / step)
    dose = plan.noise_hu / old.noise_factor * np.sqrt(plan.thickness_mm)
    return replace(
        plan,
        step_mm=step,
        stride=count,
        window=count,
        is_sharp=cell.is_sharp,
        noise_hu=float(np.clip(dose * new.noise_factor / np.sqrt(cell.thickness_mm), 4, 90)),
    )


def make_cohorts(
    wanted: dict[str, Wanted], graphs: Sequence[str], *, processes: int, say: Callable[[str], None] = print
) -> Iterator[tuple[str, dict[str, Cohort], list[Scanned]]]:
    """Every cohort in every graph, as each is done: name, graph -> cohort, facts of all its scans.

    One pool for all, so that no core waits at the end of a cohort.
    """
    work, truths = [], {}
    for name, plan in wanted.items():
        truths[name] = draw_truths(plan.settings)
        chosen = range(plan.settings.num_patients) if plan.patients is None else plan.patients
        for at in chosen:
            cell = None if plan.is_every_second and at % 2 == 0 else plan.cell
            work.append(Work(plan.settings, truths[name][at], tuple(graphs), cell, plan.variant))
    started = time.perf_counter()
    done = 0
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = pool.map(make_one, work)
        for name, plan in wanted.items():
            count = plan.settings.num_patients if plan.patients is None else len(plan.patients)
            scans = [next(results) for _ in range(count)]
            done += count
            say(f"{name}: {done} of {len(work)} scans after {time.perf_counter() - started:.0f} s")
            facts = [replace(scan, arrays={}) for scan in scans]
            if any(not scan.refused for scan in scans):
                yield name, {graph: gather(graph, scans, truths[name]) for graph in graphs}, facts
            else:
                yield name, {}, facts


def gather(graph: str, scans: Sequence[Scanned], truths: Sequence[PatientTruth]) -> Cohort:
    used = [scan for scan in scans if not scan.refused]

    def stacked(key: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([scan.arrays[graph][key] for scan in used]))

    targets = np.zeros((len(used), len(PATTERNS)), dtype=np.float32)
    for row, scan in enumerate(used):
        for pattern in truths[scan.index].case.pattern_votes.values():
            targets[row, PATTERNS.index(pattern)] += 1
    return Cohort(
        stacked(IMAGE),
        stacked(IMAGE_MASK),
        stacked(IMAGE_TISSUE),
        stacked(QUANTITATIVE),
        torch.from_numpy(targets / targets.sum(axis=1, keepdims=True)),
        torch.tensor([[scan.extents[name] for name in MEASURED] for scan in used]),
        tuple(truths[scan.index].case for scan in used),
        tuple(replace(scan, arrays={}) for scan in used),
    )
