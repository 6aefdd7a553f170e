"""What a run needs to know of its model without loading it. Loading is in `artefact.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from domain.antibodies import AntibodyVocabulary, load_antibody_vocabulary
from domain.config_files import config_path
from domain.covariates import CovariateVocabulary, load_covariate_vocabulary
from domain.errors import ArtefactError
from domain.specs import PreprocessSpec
from domain.strict_yaml import load_settings
from models.artefact_format import no_network, read_manifest

QUANTIFY_SPEC = "preprocess/quantify_only.yaml"  # the graph of a run without a model


@dataclass(frozen=True)
class ModelFacts:
    """What stands in a model's manifest.

    Attributes:
        trained_on: Shown in every output.
        digests: Of model and graph; a result made with others is made again.
        antibodies: That it learnt.
        covariates: That it learnt.
    """

    trained_on: str
    digests: dict[str, str]
    antibodies: AntibodyVocabulary
    covariates: CovariateVocabulary

    @classmethod
    def of(cls, model: Path | None, *, without_model: str) -> ModelFacts:
        """From the model's manifest; the shipped vocabularies where there is no model.

        Args:
            model: Its folder, or None.
            without_model: What ``trained_on`` then says.

        Raises:
            ArtefactError: The folder is missing, changed, of an unknown format, or holds a prognostic head alone.
        """
        if model is None:
            spec = load_settings(PreprocessSpec, config_path(QUANTIFY_SPEC))
            digests = {"model": "none", "graph": spec.digest}
            return cls(without_model, digests, load_antibody_vocabulary(), load_covariate_vocabulary())
        manifest = read_manifest(model)
        if manifest.preprocess is None:
            raise ArtefactError(no_network(model))
        digests = {"model": manifest.digest, "graph": manifest.preprocess.digest}
        return cls(manifest.trained_on, digests, manifest.antibodies, manifest.covariates)
