"""The artefact: all that `infer.py` needs besides a folder of scans. Checked when loaded.

Layout and checksums are in `models/artefact_format.py`, writing in `models/artefact_writing.py`, the self-test's
volume in `models/selftest.py`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from domain import batch_keys, ports
from domain.errors import ArtefactError, InputError, StudyError
from domain.records import FindingRecord, Prediction, PrognosisPrediction
from domain.volume import Volume
from models import selftest
from models.artefact_format import (
    SELFTEST_NAME,
    ArtefactManifest,
    no_network,
    read_manifest,
)
from models.artefact_writing import ArtefactParts, run_selftest, save_artefact
from models.belief import Belief
from models.devices import resolve_device
from models.ensemble import NetworkOutput, network_part, settle_batch_size
from models.evidence import to_grid
from models.network import PatternNetwork, build_network
from models.predictor import PatternExamination, Predictor, conclude, network_input
from models.prognostic_input import Antibodies, Covariates, one_row, read_antibodies, read_covariates
from models.stop_watch import StopWatch

__all__ = ["Analysis", "Artefact", "ArtefactParts", "load_artefact", "save_artefact"]


@dataclass(frozen=True, eq=False)
class Analysis:
    """A prediction with the arrays that pictures and reports are made from.

    Attributes:
        prediction: For files.
        pattern: The pattern part with its evidence; None without a scan.
        item: What the preprocessing graph gave, keys in ``domain.batch_keys``; None without a scan.
        seconds: Step (``graph``, ``network``, ``prognosis``) -> time it took.
    """

    prediction: Prediction
    pattern: PatternExamination | None = None
    item: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def embedding(self) -> NDArray[np.float64] | None:
        """Shape (D,)."""
        return None if self.pattern is None else self.pattern.embedding

    def evidence_on_source(self) -> NDArray[np.float32] | None:
        """The evidence map, 0..1, on the grid of the source volume (I, J, K); 0 outside the network's field.

        None without a scan, or where the network does not see the image.
        """
        if self.item is None or self.pattern is None or self.pattern.evidence is None:
            return None
        shape = self.item[batch_keys.LUNG_MASK].shape[-3:]
        source_affine = np.asarray(self.item[batch_keys.AFFINE], dtype=np.float64)
        map_affine = np.asarray(self.item[batch_keys.IMAGE_AFFINE], dtype=np.float64)
        return to_grid(self.pattern.evidence, map_affine, source_affine, shape)


class Artefact:
    """A loaded model. Use ``load_artefact``."""

    def __init__(self, folder: Path, manifest: ArtefactManifest, predictor: Predictor | None) -> None:
        self.folder = folder
        self.manifest = manifest
        self._predictor = predictor

    @property
    def has_network(self) -> bool:
        """False for a prognostic head alone, which answers from tables and reads no scan."""
        return self.manifest.model is not None

    @property
    def digest(self) -> str:
        """Changes with anything in the artefact; part of the key under which a result counts as done."""
        return self.manifest.digest

    @property
    def trained_on(self) -> str:
        """Shown in every output."""
        return self.manifest.trained_on

    @property
    def predictor(self) -> Predictor:
        """The network with its calibration.

        Raises:
            ArtefactError: This is a prognostic head alone.
            RuntimeError: The artefact was loaded without its network.
        """
        if not self.has_network:
            raise ArtefactError(no_network(self.folder))
        if self._predictor is None:
            raise RuntimeError(f"{self.folder} was loaded without its network: another process runs it")
        return self._predictor

    @cached_property
    def belief(self) -> Belief:
        """Calibration and limits."""
        return Belief.from_dict(self.manifest.belief)

    @cached_property
    def graph(self) -> tuple[Any, Any]:
        """The preprocessing graph in two: all that is found on the CPU, and the voxel-by-voxel steps at its end."""
        if self.manifest.preprocess is None:
            raise ArtefactError(no_network(self.folder))
        return ports.preprocess_port().split_preprocess(self.manifest.preprocess)

    @cached_property
    def prognostic_models(self) -> dict[str, Any]:
        """Endpoint name -> prognostic model."""
        from models.prognosis import PrognosticModel

        return {name: PrognosticModel.from_dict(value) for name, value in self.manifest.prognosis.items()}

    def preprocess(self, volume: Volume) -> dict[str, Any]:
        """Volume to network input.

        Raises:
            StudyError: The volume cannot be used.
        """
        item = self.prepare(volume)
        result: dict[str, Any] = self.graph[1](item)
        return result

    def prepare(self, volume: Volume) -> dict[str, Any]:
        """Volume to all but the last, cheap steps of the graph: whole HU, a quarter of the memory of network input.

        Raises:
            StudyError: The volume cannot be used.
        """
        return ports.preprocess_port().run_graph(self.graph[0], volume)

    def run_network(self, items: Sequence[Mapping[str, Any]]) -> list[NetworkOutput]:
        """What the network says of several scans at once.

        Args:
            items: From ``prepare``; of each, what ``network_part`` keeps is used.
        """
        device = self.predictor.device
        inputs = []
        for item in items:
            placed = {key: torch.as_tensor(values).to(device) for key, values in network_part(item).items()}
            inputs.append(network_input(self.graph[1](placed)))
        return self.predictor.ensemble.run([image for image, _ in inputs], [values for _, values in inputs])

    def predict(
        self, volume: Volume, *, antibodies: Antibodies | None = None, covariates: Covariates | None = None
    ) -> Prediction:
        """Pattern and prognosis of one volume.

        Args:
            volume: From ``data_pipeline.read_volume``.
            antibodies: Name -> ``positive``, ``negative`` or ``not_tested``; missing means not tested.
            covariates: Name -> value in the vocabulary's unit.

        Raises:
            StudyError: The volume cannot be used.
            InputError: An antibody or covariate the model never learnt.
        """
        return self.analyse(volume, antibodies=antibodies, covariates=covariates).prediction

    def analyse(
        self,
        volume: Volume | None,
        *,
        antibodies: Antibodies | None = None,
        covariates: Covariates | None = None,
        centre: str | None = None,
    ) -> Analysis:
        """As ``predict``, with the arrays that pictures are made from.

        Args:
            volume: None for a prognosis from tables alone.
            antibodies: As in ``predict``.
            covariates: As in ``predict``.
            centre: Site, for a head recalibrated by site.
        """
        watch = StopWatch()
        item = None if volume is None else self.prepare(volume)
        watch.lap("graph")
        output = None if item is None else self.run_network([item])[0]
        watch.lap("network")
        analysis = self.conclude(item, output, antibodies=antibodies, covariates=covariates, centre=centre)
        return replace(analysis, seconds=watch.seconds | analysis.seconds)

    def conclude(
        self,
        item: dict[str, Any] | None,
        output: NetworkOutput | None,
        *,
        antibodies: Antibodies | None = None,
        covariates: Covariates | None = None,
        centre: str | None = None,
    ) -> Analysis:
        """From what the network said to pattern and prognosis; runs no network.

        Args:
            item: From ``prepare``; None without a scan.
            output: From ``run_network`` for the same scan; None without one.
            antibodies: As in ``predict``.
            covariates: As in ``predict``.
            centre: As in ``analyse``.
        """
        watch = StopWatch()
        pattern = None if item is None or output is None else conclude(item, output, self.belief)
        row = one_row(
            read_antibodies(antibodies or {}, self.manifest.antibodies),
            read_covariates(covariates or {}, self.manifest.covariates),
            (self.manifest.antibodies, self.manifest.covariates),
            centre=centre,
            image_blocks=None if item is None or pattern is None else self._image_blocks(item, pattern),
        )
        prognoses: tuple[PrognosisPrediction, ...] = tuple(
            model.explain(row) for model in self.prognostic_models.values()
        )
        watch.lap("prognosis")
        prediction = Prediction(prognoses=prognoses)
        if item is not None and pattern is not None:
            prediction = Prediction(
                pattern=pattern.prediction,
                prognoses=prognoses,
                quantitative=self._quantitative_table(item),
                findings=tuple(FindingRecord.of(finding) for finding in item.get(batch_keys.FINDINGS, ())),
                evidence_zones=pattern.evidence_zones,
            )
        return Analysis(prediction, pattern, item, watch.seconds)

    def _image_blocks(self, item: Mapping[str, Any], pattern: PatternExamination) -> dict[str, object]:
        return {
            "embedding": pattern.embedding[None],
            "pattern_probabilities": pattern.probabilities[None],
            "quantitative_names": self.manifest.quantities,
            "quantitative": np.asarray(item[batch_keys.QUANTITATIVE], dtype=np.float64)[None],
        }

    def _quantitative_table(self, item: Mapping[str, Any]) -> dict[str, float | None]:
        values = np.asarray(item[batch_keys.QUANTITATIVE], dtype=np.float64)
        table = item.get(batch_keys.QUANTITATIVE_TABLE) or dict(zip(self.manifest.quantities, values, strict=True))
        return {name: float(value) if np.isfinite(value) else None for name, value in table.items()}

    def settle(self) -> None:
        """Find the batch size at which a scan's output depends on nothing but the scan; nothing to find on a CPU."""
        if not self.has_network:
            return
        ensemble = self.predictor.ensemble
        if ensemble.batch_size > 1:
            volume, _ = selftest.read(self.folder / SELFTEST_NAME)
            settle_batch_size(ensemble, *network_input(self.preprocess(volume)))

    def self_test(self) -> None:
        """Run the stored volume and compare.

        Raises:
            ArtefactError: An output moved; says which and by how much.
        """
        if not self.has_network:
            return  # closed forms in numpy: no library's behaviour to check
        path = self.folder / SELFTEST_NAME
        try:
            volume, expected = selftest.read(path)
            found = run_selftest(self.preprocess(volume), self.predictor)
            problems = selftest.differences(found, expected, on_cuda=self.predictor.device.type == "cuda")
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtefactError(f"{path}: the self-test cannot be run: {error}") from error
        except StudyError as error:
            raise ArtefactError(f"{path}: the preprocessing refuses the self-test's volume: {error}") from error
        if problems:
            lines = "\n".join(f"  - {line}" for line in problems)
            raise ArtefactError(
                f"{self.folder}: the self-test gives other results here than where the model was written; a library "
                f"has probably changed its behaviour (written with {versions_text(self.manifest)}).\n{lines}"
            )


def versions_text(manifest: ArtefactManifest) -> str:
    """Versions the artefact was written with."""
    return ", ".join(f"{name} {number}" for name, number in sorted(manifest.library_versions.items()))


def load_artefact(
    path: str | Path, *, device: str = "auto", with_self_test: bool = True, with_network: bool = True
) -> Artefact:
    """Load a model folder.

    Args:
        path: The ``.hrct`` folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        with_self_test: Compare with the stored outputs before any patient is read; about a second.
        with_network: Also load the weights. Without them everything but ``run_network`` and the self-test works.

    Raises:
        ArtefactError: Missing, changed, of an unknown format, or it fails its self-test.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if not with_network:
        return Artefact(folder, manifest, None)
    names = sorted((name for name in manifest.files if name.endswith(".safetensors")), key=_member_order)
    try:
        members = [_load_member(folder / name, manifest) for name in names]
        belief = Belief.from_dict(manifest.belief) if manifest.model else None
    except ArtefactError:
        raise
    except (SafetensorError, RuntimeError, ValueError, KeyError, InputError) as error:
        raise ArtefactError(f"{folder}: the model cannot be built by this version: {error}") from error
    predictor = None if belief is None else Predictor(members, belief, resolve_device(device))
    artefact = Artefact(folder, manifest, predictor)
    if with_self_test:
        artefact.self_test()
    artefact.settle()
    return artefact


def _member_order(name: str) -> int:
    digits = "".join(character for character in name if character.isdigit())
    return int(digits) if digits else 1


def _load_member(path: Path, manifest: ArtefactManifest) -> PatternNetwork:
    assert manifest.model is not None  # a head alone has no weights
    network = build_network(manifest.model, manifest.num_channels, len(manifest.quantities))
    try:
        network.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:  # torch lists every name, a thousand characters of them
        raise ArtefactError(
            f"{path}: its weights do not fit the network {manifest.model.backbone.name!r} "
            f"v{manifest.model.backbone.version} that this version builds. It was written by version "
            f"{manifest.code_version} ({versions_text(manifest)}): use that one, or train again."
        ) from error
    return network.eval()
