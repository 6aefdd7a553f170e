"""Settings that travel with the weights: components, the preprocessing graph, the networks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)

DIGEST_LENGTH = 16  # hex digits kept of a SHA-256; 64 bits, ample for telling specs and scans apart


class Settings(BaseModel):
    """Base of every settings type: no unknown key, no silent conversion, no change after validation."""

    model_config = STRICT


def describe_validation_error(error: ValidationError) -> list[str]:
    """One line per problem: dotted place, what is wrong, what was found."""
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        hint = " (misspelt, or not a setting of this version?)" if problem["type"] == "extra_forbidden" else ""
        found = "" if problem["type"] == "missing" else f"; found {problem['input']!r}"
        lines.append(f"{place}: {problem['msg']}{found}{hint}")
    return lines


def digest_of(value: object) -> str:
    """Digest of a JSON-able value: the same for the same content, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


class ComponentSpec(Settings):
    """A component by name, version and parameters. The component's own params model checks ``params``."""

    name: str = Field(min_length=1)
    version: int = Field(ge=1)
    params: dict[str, Any] = Field(default_factory=dict)


class PreprocessSpec(Settings):
    """The deterministic steps between an HU volume and the network's input, in order.

    Training and inference build the same graph from it (``data_pipeline.graph.build_preprocess``).
    """

    format_version: int = Field(default=1, ge=1)
    name: str
    steps: tuple[ComponentSpec, ...] = Field(min_length=1)

    @property
    def digest(self) -> str:
        """Digest of the steps: part of every cache key and of the artefact."""
        return digest_of(self.model_dump(mode="json"))


class AugmentSpec(Settings):
    """Random steps used in training only, after the graph. An empty list is no augmentation."""

    format_version: int = Field(default=1, ge=1)
    steps: tuple[ComponentSpec, ...] = ()


class ModelSpec(Settings):
    """A pattern network: what is built, from how many input channels and quantitative features."""

    format_version: int = Field(default=1, ge=1)
    backbone: ComponentSpec
    use_quantitative: bool = True
    dropout: float = Field(default=0.2, ge=0, lt=1)
    embedding_size: int = Field(default=32, ge=2)
    mirror_average: bool = Field(
        default=False,
        description="answer with the mean over the scan and its mirror image; train with the `side_flip` augmentation",
    )


class PretrainedWeights(Settings):
    """Published weights to start a backbone from: a file on this machine and its checksum."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    min_share: float = Field(default=0.8, gt=0, le=1, description="share of the backbone that must be in the file")
