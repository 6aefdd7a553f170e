"""Writing a model folder: whole, by one call on the typed parts, defaults included. Loading is in `artefact.py`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from domain import batch_keys, ports
from domain.antibodies import AntibodyVocabulary
from domain.covariates import CovariateVocabulary
from domain.endpoints import Endpoint
from domain.errors import OutputFolderError
from domain.patterns import PATTERNS
from domain.quantities import NETWORK_QUANTITIES
from domain.specs import ModelSpec, PreprocessSpec
from models import selftest
from models.artefact_format import (
    CARD_NAME,
    FORMAT_VERSION,
    MANIFEST_NAME,
    SELFTEST_NAME,
    ArtefactManifest,
    CohortSummary,
    file_sha256,
    member_name,
    read_manifest,
)
from models.belief import Belief
from models.card import write_card
from models.devices import resolve_device
from models.network import PatternNetwork
from models.predictor import Predictor

LIBRARIES = ("torch", "monai", "numpy", "safetensors")


@dataclass(frozen=True, eq=False)
class ArtefactParts:
    """A trained model before it is written.

    Attributes:
        model: None for a prognostic head alone; ``preprocess``, ``members`` and ``belief`` are then absent, too.
        prognosis: Endpoint name -> ``PrognosticModel.to_dict()``.
        results: Out-of-fold measures for the card: name -> number or text.
    """

    name: str
    trained_on: str
    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary
    endpoints: tuple[Endpoint, ...]
    cohort: CohortSummary
    model: ModelSpec | None = None
    preprocess: PreprocessSpec | None = None
    members: Sequence[PatternNetwork] = ()
    num_channels: int = 0
    belief: Belief | None = None
    prognosis: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    quantities: tuple[str, ...] = NETWORK_QUANTITIES
    licence: str = "not stated"


def run_selftest(item: Mapping[str, Any], predictor: Predictor) -> dict[str, NDArray[np.float64]]:
    """The outputs that are compared."""
    examination = predictor.predict(item, with_evidence=False)
    return {
        "probabilities": examination.probabilities,
        "quantitative": np.asarray(item[batch_keys.QUANTITATIVE], dtype=np.float64),
    }


def save_artefact(folder: str | Path, parts: ArtefactParts) -> Path:
    """Write a model folder whole: into a temporary folder beside it, then by one rename.

    Args:
        folder: Ends in ``.hrct``; a model that is there is replaced.
        parts: All of it.

    Raises:
        OutputFolderError: The place cannot be written, or holds something that is not a model.
    """
    return write_model_folder(Path(folder), lambda staging: _write_files(staging, parts))


def save_recalibrated(
    folder: str | Path, parent: Path, prognosis: Mapping[str, dict[str, Any]], *, name: str, recalibrated_on: str
) -> Path:
    """Write a copy of a model with other prognostic heads; it names its parent by digest.

    Args:
        folder: Of the new model, ends in ``.hrct``.
        parent: Folder of the model it comes from; left as it is.
        prognosis: Endpoint name -> ``PrognosticModel.to_dict()``; endpoints not named keep the parent's.
        name: Of the new model.
        recalibrated_on: Added to ``trained_on``.

    Raises:
        ArtefactError: The parent is damaged.
        OutputFolderError: The place cannot be written, or holds something that is not a model.
    """
    old = read_manifest(parent)
    new = old.model_dump() | {
        "name": name,
        "parent": old.digest,
        "trained_on": f"{old.trained_on}; recalibrated on {recalibrated_on}",
        "prognosis": {**old.prognosis, **prognosis},
    }

    def write(staging: Path) -> None:
        for file in old.files:
            shutil.copyfile(parent / file, staging / file)
        _seal(staging, lambda files: ArtefactManifest.model_validate(new | {"files": files}))

    return write_model_folder(Path(folder), write)


def write_model_folder(target: Path, write: Callable[[Path], None]) -> Path:
    """Write into a temporary folder beside ``target``, then put it in place by one rename.

    Raises:
        OutputFolderError: The place cannot be written, or holds something that is not a model.
    """
    if target.exists() and not (target / MANIFEST_NAME).is_file():
        raise OutputFolderError(f"{target}: exists and is not a model folder; it is left as it is. Choose another.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            write(staging)
            _put_in_place(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise OutputFolderError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def _write_files(staging: Path, parts: ArtefactParts) -> None:
    for index, member in enumerate(parts.members):
        weights = {name: value.detach().cpu().contiguous() for name, value in member.state_dict().items()}
        save_file(weights, staging / member_name(index))
    _write_selftest(staging / SELFTEST_NAME, parts)
    _seal(staging, lambda files: _make_manifest(parts, files=files))


def _seal(staging: Path, manifest_of: Callable[[dict[str, str]], ArtefactManifest]) -> None:
    """Write card and manifest over the files that are there, and put everything on disk."""
    num_members = len(list(staging.glob("*.safetensors")))
    (staging / CARD_NAME).write_text(write_card(manifest_of({}), num_members), encoding="utf-8")
    files = {path.name: file_sha256(path) for path in sorted(staging.iterdir())}
    manifest = manifest_of(files)
    value = manifest.model_dump(mode="json") | {"digest": manifest.content_digest()}
    (staging / MANIFEST_NAME).write_text(json.dumps(value, indent=1), encoding="utf-8")
    for path in staging.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner can read
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _write_selftest(path: Path, parts: ArtefactParts) -> None:
    if parts.preprocess is None or parts.belief is None:
        return
    port = ports.preprocess_port()
    volume = selftest.make_volume()
    item = port.run_graph(port.build_preprocess(parts.preprocess), volume)
    device = resolve_device("cpu")
    selftest.write(path, volume, run_selftest(item, Predictor(parts.members, parts.belief, device)))


def _make_manifest(parts: ArtefactParts, files: dict[str, str]) -> ArtefactManifest:
    return ArtefactManifest(
        format_version=FORMAT_VERSION,
        name=parts.name,
        code_version=_version_of("myolung"),
        library_versions={name: _version_of(name) for name in LIBRARIES},
        trained_on=parts.trained_on,
        licence=parts.licence,
        model=parts.model,
        num_channels=parts.num_channels,
        quantities=parts.quantities,
        preprocess=parts.preprocess,
        patterns=tuple(pattern.value for pattern in PATTERNS),
        antibodies=parts.antibodies,
        covariates=parts.covariates,
        endpoints=parts.endpoints,
        belief={} if parts.belief is None else parts.belief.to_dict(),
        prognosis=dict(parts.prognosis),
        cohort=parts.cohort,
        results=dict(parts.results),
        files=files,
    )


def _put_in_place(staging: Path, target: Path) -> None:
    staging.chmod(0o755)  # mkdtemp makes folders that only their owner can read
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.rename(old / target.name)
        staging.rename(target)
        shutil.rmtree(old)
    else:
        staging.rename(target)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
