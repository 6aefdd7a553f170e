"""The numbers of the clinical truth as a checked settings model; the values and their sources are in YAML."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from data_pipeline.phantoms.disease_types import OtherKind
from data_pipeline.phantoms.laboratory_settings import Assay, Decimals, Reader, ReaderConfusions, ReaderErrors
from data_pipeline.phantoms.sourced import Sourced, Value
from domain.config_files import resolve_config
from domain.patterns import Pattern
from domain.specs import Settings
from domain.strict_yaml import load_settings

Group = Literal["mda5", "ars", "other"]
GROUPS: tuple[Group, ...] = ("mda5", "ars", "other")
GroupOrAll = Literal["mda5", "ars", "other", "all"]
PresetName = Literal["east_asia", "west"]


class Preset(Sourced):
    """A region: class mix and what else differs."""

    key: PresetName
    prevalence_column: PresetName
    mda5_rapid: float = Field(ge=0, le=1)
    kl6_missing: float = Field(ge=0, le=1)


class AntibodyClass(Sourced):
    """One antibody class of patients: how common, how old, which pattern, which antibody."""

    key: str
    group: Group
    prevalence: dict[PresetName, float]
    patterns: dict[Pattern, float]
    rapid: float = Field(ge=0, le=1)
    age_mean: float
    age_sd: float = Field(gt=0)
    female: float = Field(ge=0, le=1)
    antibodies: dict[str, float]
    ro52: float = Field(ge=0, le=1)
    smoking: float = Field(ge=0, le=1)
    mortality: str
    other_kinds: dict[OtherKind, float]
    subtypes: dict[str, float]

    @model_validator(mode="after")
    def _shares_add_up(self) -> AntibodyClass:
        for name, shares in (
            ("patterns", self.patterns),
            ("other_kinds", self.other_kinds),
            ("subtypes", self.subtypes),
        ):
            if abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"{self.key}: {name} add up to {sum(shares.values())}, expected 1")
        return self


class RapidByPattern(Sourced):
    """Relative frequency of a rapidly progressive course by pattern; ``most`` caps the probability of a patient."""

    nsip: float
    op: float
    mixed: float
    other: float
    most: float = Field(gt=0, lt=1)


class Periods(Sourced):
    """Ends of the pieces of time in which hazards are constant, and the one from which on late factors act; months."""

    months: tuple[float, ...]
    late_months: float

    @model_validator(mode="after")
    def _are_in_order(self) -> Periods:
        if list(self.months) != sorted(set(self.months)) or self.late_months not in self.months:
            raise ValueError(f"periods: {self.months} rise, and late_months {self.late_months} is one of them")
        return self


class Mortality(Sourced):
    """Probability dead by the ends of the periods."""

    key: str
    dead: tuple[float, ...]


class ShareByGroup(Sourced):
    """A probability per group of classes."""

    mda5: float
    ars: float
    other: float

    def of(self, group: Group) -> float:
        """The value of a group."""
        return {"mda5": self.mda5, "ars": self.ars, "other": self.other}[group]


class Progression(ShareByGroup):
    """Probability of progression by some months."""

    by_months: float


class Transplant(Sourced):
    """Probability of a transplant by some months."""

    by_months: float
    probability: float = Field(ge=0, le=1)


class CovariateRow(Sourced):
    """Baseline distribution of one covariate in one group."""

    key: str
    group: GroupOrAll
    form: Literal["lognormal", "normal"]
    median: float
    q25: float
    q75: float


class Correlation(Sourced):
    """Correlation of two latent normal variables."""

    pair: tuple[str, str]
    value: float = Field(gt=-1, lt=1)


class HazardTerm(Sourced):
    """One factor of a hazard: a slope per unit, or a step above or below a cut-off."""

    term: str
    group: GroupOrAll
    per: float | None = None
    above: float | None = None
    below: float | None = None
    hazard_ratio: float = Field(gt=0)
    late: float = 1.0

    @model_validator(mode="after")
    def _has_one_form(self) -> HazardTerm:
        if sum(value is not None for value in (self.per, self.above, self.below)) != 1:
            raise ValueError(f"{self.term}: exactly one of per, above, below is given")
        return self


class Centre(Sourced):
    """Differences between hospitals."""

    log_hazard_sd: float = Field(ge=0)
    num_sites: dict[PresetName, int]


class Censoring(Sourced):
    """Follow-up ends at the earlier of an exponential and a uniform time."""

    mean_years: float
    shortest_years: float
    longest_years: float


class Missing(Sourced):
    """Probability that a covariate is missing from the table; two depend on the course (not at random)."""

    ferritin: float
    kl6: float
    spd: float
    ifn_lambda3: float
    pf_ratio: float
    dlco: float
    dlco_if_rapid: float
    crp: float
    ldh: float
    fvc: float
    fvc_if_rapid: float
    smoking: float
    duration: float
    spo2: float


class Dependencies(Settings):
    """Odds ratios of what follows from severity, sex and disease."""

    combination_if_rapid: Value
    cadm_if_rapid: Value
    smoking_if_male: Value
    smoking_if_emphysema: Value
    smoking_if_uip: Value
    specialist_if_rapid: Value


class Mixture(Sourced):
    """How an affected lung is shared out between the components.

    Attributes:
        mixed_from: Least share of the lesser component of a mixed pattern (patterns.yaml).
        organizing_of_other: Share of the organizing component in each kind of ``other``.
        reticulation_share: Middle of the share of reticulation within the interstitial part.
        consolidation_share: Middle of the share of consolidation within the organizing part.
        concentration: Of the Beta draws around these middles.
        hardly_affected: Factor on the extent of normal and emphysematous lungs.
    """

    mixed_from: float
    organizing_of_other: dict[OtherKind, float]
    reticulation_share: dict[str, float]
    consolidation_share: float
    concentration: float
    hardly_affected: float


class Limits(Sourced):
    """Values outside are not drawn."""

    low: float
    high: float


class ClinicalSettings(Settings):
    """Everything in ``configs/phantoms/clinical.yaml``."""

    format_version: Literal[1] = 1
    presets: tuple[Preset, ...]
    classes: tuple[AntibodyClass, ...]
    rapid_by_pattern: RapidByPattern
    periods: Periods
    mortality: tuple[Mortality, ...]
    progression: Progression
    transplant: Transplant
    covariates: tuple[CovariateRow, ...]
    limits: dict[str, Limits]
    mixture: Mixture
    correlations: tuple[Correlation, ...]
    shrink: Value
    death_terms: tuple[HazardTerm, ...]
    interaction_terms: tuple[HazardTerm, ...]
    image_terms: tuple[HazardTerm, ...]
    progression_terms: tuple[HazardTerm, ...]
    dependencies: Dependencies
    centre: Centre
    censoring: Censoring
    treatment_combination: ShareByGroup
    missing: Missing
    assay: Assay
    decimals: Decimals
    readers: tuple[Reader, ...]
    reader_confusions: ReaderConfusions
    reader_errors: ReaderErrors

    @model_validator(mode="after")
    def _rows_refer_to_each_other(self) -> ClinicalSettings:
        num_periods = len(self.periods.months)
        rows = {row.key for row in self.mortality if len(row.dead) == num_periods}
        for entry in self.classes:
            if entry.mortality not in rows:
                raise ValueError(f"class {entry.key}: no mortality row {entry.mortality!r} of {num_periods} periods")
        for preset in self.presets:
            total = sum(entry.prevalence[preset.key] for entry in self.classes)
            if abs(total - 1) > 1e-6:
                raise ValueError(f"preset {preset.key}: prevalences add up to {total}, expected 1")
        return self

    def preset(self, name: str) -> Preset:
        """The preset of a name."""
        return next(preset for preset in self.presets if preset.key == name)

    def covariate(self, key: str, group: Group) -> CovariateRow:
        """The distribution of a covariate in a group; a row of the group takes precedence."""
        rows = [row for row in self.covariates if row.key == key]
        return next(
            (row for row in rows if row.group == group), next((row for row in rows if row.group == "all"), rows[-1])
        )

    def dead_by(self, key: str) -> tuple[float, ...]:
        """Probability dead by the ends of the periods, of a mortality row."""
        return next(row.dead for row in self.mortality if row.key == key)


@lru_cache(maxsize=4)
def load_clinical_settings(name_or_path: str = "clinical") -> ClinicalSettings:
    """The shipped numbers, or a file of one's own."""
    return load_settings(ClinicalSettings, resolve_config(name_or_path, "phantoms"))
