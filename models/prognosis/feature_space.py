"""All columns of the log hazard: main effects, missingness, antibodies, gates, log-time effects. No fitting here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis.antibody_coding import NOT_TESTED, AntibodyCoding, fit_antibody_coding
from models.prognosis.antibody_posterior import AntibodyPosterior, fit_antibody_posterior
from models.prognosis.clinical_coding import ClinicalCoding, base_key, fit_clinical_coding
from models.prognosis.image_coding import ImageCoding, fit_image_coding

FloatArray = NDArray[np.float64]


class Family(StrEnum):
    """Columns that share a penalty."""

    MAIN = "main"
    MISSING = "missing"
    ANTIBODY = "antibody"
    DEVIATION = "deviation"
    GATE = "gate"
    TIME = "time"


class Column(NamedTuple):
    """One column: its name, the block it is reported in and the family it is penalised with."""

    name: str
    block: str
    family: Family


ANTIBODY_BLOCK = "antibodies"
GATE_BLOCK = "antibody_gates"


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Everything needed to turn inputs into columns.

    Attributes:
        clinical: Coding of the covariates.
        image: Coding of the image features.
        antibody: Coding of the antibodies.
        gate_groups: Antibody groups with gates and log-time effects, of those in the cohort.
        gate_covariates: Coded covariates that are gated, of those in the cohort.
        posterior: Antibody class given the rest; None where no antibody was seen positive.
    """

    clinical: ClinicalCoding
    image: ImageCoding
    antibody: AntibodyCoding
    gate_groups: tuple[str, ...]
    gate_covariates: tuple[str, ...]
    posterior: AntibodyPosterior | None

    @cached_property
    def static_columns(self) -> tuple[Column, ...]:
        """Columns of ``static``, in order."""
        clinical, image = self.clinical, self.image
        columns = [Column(n, b, Family.MAIN) for n, b in zip(clinical.names, clinical.blocks, strict=True)]
        columns += [Column(f"{block} missing", block, Family.MISSING) for block in clinical.block_names]
        blocks = {base_key(n): b for n, b in zip(clinical.names, clinical.blocks, strict=True)}
        columns += [Column(f"{key} missing", blocks[key], Family.MISSING) for key in clinical.indicator_keys]
        columns += [Column(n, b, Family.MAIN) for n, b in zip(image.names, image.blocks, strict=True)]
        columns += [Column("image missing", "image", Family.MISSING)] if image.names else []
        for group in self.antibody.groups:
            columns += [Column(f"{group} {s}", ANTIBODY_BLOCK, Family.ANTIBODY) for s in ("positive", "not tested")]
        columns += [Column(key, ANTIBODY_BLOCK, Family.DEVIATION) for key in self.antibody.deviation_keys]
        for group in self.gate_groups:
            columns += [Column(f"{group} x {name}", GATE_BLOCK, Family.GATE) for name in self.gated_names]
            columns += [Column(f"{group} x image missing", ANTIBODY_BLOCK, Family.ANTIBODY)] if self.image.names else []
        return tuple(columns)

    @property
    def gated_names(self) -> tuple[str, ...]:
        """Features inside a gate: image first, then covariates."""
        image = tuple(n for n, gated in zip(self.image.names, self.image.gated, strict=True) if gated)
        return image + self.gate_covariates

    @property
    def temporal_columns(self) -> tuple[Column, ...]:
        """Columns of ``temporal``, in order."""
        return tuple(
            Column(f"{group} {state} x log time", ANTIBODY_BLOCK, Family.TIME)
            for group in self.gate_groups
            for state in ("positive", "not tested")
        )

    def build(self, data: PrognosticData) -> tuple[FloatArray, FloatArray]:
        """Columns of N patients: static (N, P), and those that act times log-time (N, Q)."""
        clinical, image = self.clinical.standard_scores(data), self.image.standard_scores(data)
        parts = [clinical, self.clinical.missing_shares(data), image]
        if self.image.names:
            parts.append(self.image.missing(data)[:, None])
        positive, unknown = self.antibody.group_states(data)
        if self.posterior is not None:
            positive = positive + self.posterior.expected_positive(self, data)
        states = np.stack([positive, unknown], axis=2)  # (N, G, 2)
        parts.append(states.reshape(len(data), -1))
        deviations = [self.antibody.keys.index(key) for key in self.antibody.deviation_keys]
        parts.append(self.antibody.evidence(data)[:, deviations])
        covariates = [self.clinical.names.index(name) for name in self.gate_covariates]
        gated = np.column_stack([image[:, self.image.gated], clinical[:, covariates]])  # (N, F)
        groups = [self.antibody.groups.index(group) for group in self.gate_groups]
        gate_states = states[:, groups].reshape(len(data), -1)  # (N, 2 gate groups)
        if self.image.names:  # without an image a gate is averaged over images, at a level of its own
            gated = np.column_stack([gated, self.image.missing(data)])
        parts.append((positive[:, groups, None] * gated[:, None, :]).reshape(len(data), -1))
        return np.column_stack(parts), gate_states

    def has_image(self, data: PrognosticData) -> NDArray[np.bool_]:
        """Something of the image is there. Shape (N,)."""
        return self.image.missing(data) < 1

    def has_tables(self, data: PrognosticData) -> NDArray[np.bool_]:
        """Some antibody was tested, or some covariate is there. Shape (N,)."""
        tested = (self.antibody.states(data) != NOT_TESTED).any(axis=1)
        return np.asarray(tested | (~np.isnan(self.clinical.raw(data))).any(axis=1))


def fit_feature_space(data: PrognosticData, settings: PrognosisSettings) -> FeatureSpace:
    """Learn codings from a training cohort; outcomes are not looked at."""
    clinical = fit_clinical_coding(data)
    antibody = fit_antibody_coding(data, settings.weak_positive_weight)
    draft = FeatureSpace(
        clinical=clinical,
        image=fit_image_coding(data, settings.num_embedding_components),
        antibody=antibody,
        gate_groups=tuple(g for g in sorted(settings.gate_groups) if g in antibody.groups),
        gate_covariates=_present(clinical.names, settings.gate_covariates),
        posterior=None,
    )
    return replace(draft, posterior=fit_antibody_posterior(data, draft))


def _present(names: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if base_key(name) in wanted)
