"""The words of a cohort together: antibodies, covariates, endpoints. Each is checked by its own file."""

from __future__ import annotations

from dataclasses import dataclass

from domain.antibodies import AntibodyVocabulary, load_antibody_vocabulary
from domain.covariates import CovariateVocabulary, load_covariate_vocabulary
from domain.endpoints import Endpoint, load_endpoint
from domain.settings import VocabularySettings


@dataclass(frozen=True)
class Vocabularies:
    """Loaded and checked before any table or scan is read; at least one endpoint."""

    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary
    endpoints: tuple[Endpoint, ...]


def load_vocabularies(names: VocabularySettings) -> Vocabularies:
    """Shipped ones by name, a cohort's own by path.

    Raises:
        SettingsError: A file is missing or wrong.
    """
    return Vocabularies(
        load_antibody_vocabulary(names.antibodies),
        load_covariate_vocabulary(names.covariates),
        tuple(load_endpoint(name) for name in names.endpoints),
    )
