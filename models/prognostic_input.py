"""One patient's antibodies, covariates and image features as the one-row data the prognostic head answers."""

from __future__ import annotations

from collections.abc import Mapping

from domain.antibodies import AntibodyResult, AntibodyStatus, AntibodyVocabulary
from domain.cohort import code_cohort
from domain.covariates import CovariateValue, CovariateVocabulary
from domain.errors import InputError
from domain.prognostic_data import PrognosticData
from domain.records import Case

Antibodies = Mapping[str, AntibodyResult | AntibodyStatus | str]
Covariates = Mapping[str, CovariateValue]


def read_antibodies(given: Antibodies, vocabulary: AntibodyVocabulary) -> dict[str, AntibodyResult]:
    """Antibodies by vocabulary key.

    Raises:
        InputError: An antibody the model never learnt, or a state that is none of the three.
    """
    results: dict[str, AntibodyResult] = {}
    for name, value in given.items():
        entry = vocabulary.find(name)
        if entry is None:
            raise InputError(
                f"antibody {name!r} is unknown to this model, which learnt: {', '.join(vocabulary.keys)}. Leave it out."
            )
        if isinstance(value, AntibodyResult):
            results[entry.key] = value
            continue
        try:
            results[entry.key] = AntibodyResult(AntibodyStatus(value))
        except ValueError as error:
            states = ", ".join(status.value for status in AntibodyStatus)
            raise InputError(f"antibody {name!r}: {value!r} is none of {states}") from error
    return results


def read_covariates(given: Covariates, vocabulary: CovariateVocabulary) -> dict[str, CovariateValue]:
    """Covariates by key, in canonical units; keys and columns with a unit (``ferritin_ng_ml``) are both understood.

    Raises:
        InputError: A covariate the model never learnt.
    """
    columns = {
        column: (entry.key, factor)
        for entry in vocabulary.covariates
        for column, factor in entry.columns_with_factor.items()
    }
    columns |= {key: (key, 1.0) for key in vocabulary.keys}
    values: dict[str, CovariateValue] = {}
    for name, value in given.items():
        if name not in columns:
            raise InputError(
                f"covariate {name!r} is unknown to this model, which learnt: {', '.join(vocabulary.keys)}. "
                "Leave it out, or write its unit as the vocabulary does."
            )
        key, factor = columns[name]
        values[key] = value if isinstance(value, str) else value * factor
    return values


def one_row(
    antibodies: Mapping[str, AntibodyResult],
    covariates: Mapping[str, CovariateValue],
    vocabularies: tuple[AntibodyVocabulary, CovariateVocabulary],
    *,
    centre: str | None = None,
    image_blocks: Mapping[str, object] | None = None,
) -> PrognosticData:
    """The data of one patient.

    Args:
        antibodies: Key -> result; a missing key is not tested.
        covariates: Key -> value in the canonical unit.
        vocabularies: Antibodies and covariates of the artefact.
        centre: Site; only a head recalibrated by site uses it.
        image_blocks: Blocks of ``PrognosticData`` that come from the image, one row each; None without a scan.
    """
    case = Case("case", "case", site=centre or "", antibodies=antibodies, covariates=covariates)
    return code_cohort([case], *vocabularies).replaced(**(image_blocks or {}))
