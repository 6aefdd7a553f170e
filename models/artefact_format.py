"""What ``artefact.json`` holds, as a type, and the files beside it with their checksums. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from domain.antibodies import AntibodyVocabulary
from domain.covariates import CovariateVocabulary
from domain.endpoints import Endpoint
from domain.errors import ArtefactError
from domain.patterns import PATTERNS
from domain.records import Case
from domain.specs import ModelSpec, PreprocessSpec, Settings, describe_validation_error

FORMAT_VERSION = 2  # 1: first; 2: branches that answer alone, heads averaged over penalties, heads without a network

MANIFEST_NAME = "artefact.json"
SELFTEST_NAME = "selftest.npz"
CARD_NAME = "CARD.md"


def member_name(index: int) -> str:
    """File of one member's weights."""
    return "weights.safetensors" if index == 0 else f"weights-{index + 1}.safetensors"


class CohortSummary(Settings):
    """The training cohort in numbers; nothing identifying."""

    num_patients: int = Field(ge=0)
    num_scans: int = Field(ge=0)
    num_labelled: int = Field(ge=0)
    patterns: dict[str, float] = Field(default_factory=dict, description="pattern -> scans (votes added up)")
    sites: int = Field(default=0, ge=0, description="number of sites")

    @classmethod
    def of(cls, cases: Sequence[Case], *, num_scans: int) -> CohortSummary:
        """Count the rows of a case table."""
        votes = [pattern for case in cases for pattern in case.pattern_votes.values()]
        return cls(
            num_patients=len({case.patient_id for case in cases}),
            num_scans=num_scans,
            num_labelled=sum(bool(case.pattern_votes) for case in cases),
            patterns={pattern.value: float(votes.count(pattern)) for pattern in PATTERNS},
            sites=len({case.site for case in cases}),
        )


class ArtefactManifest(Settings):
    """Everything of an artefact but weights, self-test and card."""

    format_version: int
    name: str
    code_version: str
    library_versions: dict[str, str]
    trained_on: str = Field(min_length=1)
    licence: str
    parent: str = Field(default="", description="digest of the model this one was recalibrated from")
    model: ModelSpec | None = Field(description="None: a prognostic head alone, which reads no scan")
    num_channels: int = Field(ge=0)
    quantities: tuple[str, ...]
    preprocess: PreprocessSpec | None
    patterns: tuple[str, ...]
    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary
    endpoints: tuple[Endpoint, ...]
    belief: dict[str, dict[str, Any]] = Field(
        description="calibration and limits, as ``Belief.to_dict`` writes them; empty for a head alone"
    )
    prognosis: dict[str, dict[str, Any]] = Field(default_factory=dict, description="endpoint -> prognostic model")
    cohort: CohortSummary
    results: dict[str, Any] = Field(default_factory=dict, description="out-of-fold results, as the card shows them")
    files: dict[str, str] = Field(description="file beside this one -> SHA-256")
    digest: str = Field(default="", description="SHA-256 over everything else in this file")

    def content_digest(self) -> str:
        """What ``digest`` must be."""
        value = self.model_dump(mode="json", exclude={"digest"} if self.parent else {"digest", "parent"})
        return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=True).encode()).hexdigest()


def no_network(folder: Path) -> str:
    """What is said where a head alone is asked about a scan."""
    return (
        f"{folder}: a prognostic head alone, without a network: it reads no scan. "
        "`python -m models predict` answers from a case table with it."
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(folder: Path) -> ArtefactManifest:
    """Read and check ``artefact.json`` and the checksums of all files it names.

    Raises:
        ArtefactError: Not a model folder, another format, or something in it was changed, added to or lost.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ArtefactError(f"{folder}: not a model folder (it has no {MANIFEST_NAME}). Give the .hrct folder itself.")
    try:
        text = path.read_text(encoding="utf-8")
        version = json.loads(text).get("format_version")
    except (OSError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{path}: not readable as JSON; the file is damaged. Copy the model again.") from error
    if version != FORMAT_VERSION:
        raise ArtefactError(
            f"{folder}: the model has format {version}; this version reads format {FORMAT_VERSION}. "
            "Use the version of the program that wrote it, or train again."
        )
    try:
        manifest = ArtefactManifest.model_validate_json(text)
    except ValidationError as error:
        problems = "\n".join(f"  - {line}" for line in describe_validation_error(error))
        raise ArtefactError(f"{path}: not what a model of format {version} holds\n{problems}") from error
    check_files(folder, manifest)
    return manifest


def check_files(folder: Path, manifest: ArtefactManifest) -> None:
    """Compare every checksum.

    Raises:
        ArtefactError: Names the first file that differs.
    """
    if manifest.digest != manifest.content_digest():
        raise ArtefactError(f"{folder / MANIFEST_NAME}: changed since it was written. Copy the model again.")
    for name, expected in manifest.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ArtefactError(f"{folder}: {name} is missing. Copy the whole folder again.")
        found = file_sha256(path)
        if found != expected:
            raise ArtefactError(
                f"{path}: changed since it was written (SHA-256 {found[:12]}..., expected {expected[:12]}...). "
                "Nothing it says could be trusted; copy the model again."
            )
