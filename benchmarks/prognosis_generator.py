"""Synthetic cohorts with a known truth for the prognostic head: generator v1 of the simulation protocol.

Three antibody classes, a latent image, clinical values, centres; hazards whose image effects differ by antibody.
Nothing here resembles a patient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.antibodies import load_antibody_vocabulary
from domain.endpoints import Cause, Endpoint, load_endpoint
from domain.prognostic_data import PrognosticData

FloatArray = NDArray[np.float64]

EMBEDDING_SIZE = 16
DAYS_PER_YEAR = 365.25
ARS_MEMBERS = ("jo1", "pl7", "pl12", "ej", "ks")
ARS_SHARES = (0.5, 0.17, 0.12, 0.16, 0.05)
MAIN_SCALE_YEARS = 4.4  # Weibull scale of an average patient: half the patients have an event, a third die in a year


@dataclass(frozen=True)
class Variant:
    """What differs from the plain cohort.

    Attributes:
        interactions: Image effects differ by antibody.
        nonlinear: A U-shaped effect of age and a product of age and ferritin, which no linear core can hold.
        proportional: One Weibull shape for all; otherwise MDA5 events come early.
        untested: Share of patients without any antibody result.
        informative_testing: MDA5 patients are tested more often (85 % against 35 %).
        centre_sd: SD of the centre's log-hazard effect.
        centre_shift: Added to every centre's effect (a new site).
        competing: Progression, death and transplant instead of death alone.
        permuted: Outcomes shuffled: nothing can be learnt.
    """

    interactions: bool = True
    nonlinear: bool = False
    proportional: bool = True
    untested: float = 0.0
    informative_testing: bool = False
    centre_sd: float = 0.25
    centre_shift: float = 0.0
    competing: bool = False
    permuted: bool = False


@dataclass(frozen=True, eq=False)
class Cohort:
    """A drawn cohort and its truth.

    Attributes:
        data: What a model sees.
        is_mda5: Shape (N,), the truth whatever was tested.
        is_ars: The same.
        image_score: True latent image (N, 4).
        log_hazard: True linear predictor per cause (N, K), centre included.
        shape: Weibull shape (N,).
        scale_years: Weibull scale of linear predictor 0, per cause.
    """

    data: PrognosticData
    is_mda5: NDArray[np.bool_]
    is_ars: NDArray[np.bool_]
    image_score: FloatArray
    log_hazard: FloatArray
    shape: FloatArray
    scale_years: tuple[float, ...]

    def true_survival(self, days: FloatArray) -> FloatArray:
        """True probability of no event. Shape (N, T)."""
        return np.exp(-self._cumulative(days).sum(axis=1))

    def _cumulative(self, days: FloatArray) -> FloatArray:
        """True cumulative hazard per cause. Shape (N, K, T)."""
        years = np.asarray(days) / DAYS_PER_YEAR
        base = np.stack([(years[None] / s) ** self.shape[:, None] for s in self.scale_years], axis=1)
        return base * np.exp(self.log_hazard)[:, :, None]

    def true_incidence(self, days: FloatArray) -> FloatArray:
        """True cumulative incidence per cause. Shape (N, K, T); one shape for all causes makes it closed form."""
        cumulative = self._cumulative(days)
        total = cumulative.sum(axis=1, keepdims=True)
        return cumulative / np.maximum(total, 1e-300) * -np.expm1(-total)


def embedding_map() -> FloatArray:
    """The fixed linear map from latent image to embedding. Shape (4, 16)."""
    return np.random.default_rng(2021).normal(size=(4, EMBEDDING_SIZE)) / 2.0


def endpoint_of(variant: Variant) -> Endpoint:
    """Death alone, or progression, death and transplant."""
    if not variant.competing:
        return load_endpoint("death")
    course = load_endpoint("course")
    order = ("progression", "death", "transplant")
    causes = tuple(next(c for c in course.causes if c.key == key) for key in order)
    return course.model_copy(update={"causes": tuple(Cause(key=c.key, name=c.name, events=c.events) for c in causes)})


def draw(num_patients: int, seed: int, variant: Variant | None = None) -> Cohort:
    """A cohort of ``num_patients`` patients."""
    plan = variant or Variant()
    rng = np.random.default_rng([seed, num_patients])
    kind = rng.choice(3, num_patients, p=(0.25, 0.40, 0.35))
    mda5, ars = kind == 0, kind == 1
    image = rng.normal(size=(num_patients, 4))
    image[:, 0] += 0.6 * mda5
    image[:, 1] += 0.4 * ars
    embedding = image @ embedding_map() + 0.5 * rng.normal(size=(num_patients, EMBEDDING_SIZE))
    age = rng.normal(size=num_patients)
    ferritin = rng.normal(size=num_patients) + 1.0 * mda5
    fvc = rng.normal(size=num_patients) - 0.4 * image[:, 1]
    centre = rng.integers(12, size=num_patients)
    centre_effect = plan.centre_sd * np.random.default_rng([seed, 77]).normal(size=12) + plan.centre_shift
    base = 0.9 * mda5 - 0.3 * ars + 0.35 * age + 0.15 * ferritin - 0.25 * fvc + 0.15 * image[:, 0] + 0.15 * image[:, 1]
    gates = 0.35 * (ferritin - 1) * mda5 + 0.9 * (image[:, 0] - 0.6) * mda5
    gates += -0.35 * image[:, 0] * ars + 0.5 * image[:, 1] * ars
    if plan.nonlinear:
        base = base + 0.45 * (age**2 - 1.0) + 0.4 * age * ferritin
    eta = base + (gates if plan.interactions else 0.0) + centre_effect[centre]
    log_hazard, scales = _per_cause(eta, mda5, image, plan)
    shape = np.full(num_patients, 0.8) if plan.proportional else np.where(mda5, 0.55, 1.1)
    cohort = Cohort(
        _inputs(num_patients, embedding, (age, ferritin, fvc), centre), mda5, ars, image, log_hazard, shape, scales
    )
    return _with_outcomes(_with_antibodies(cohort, kind, plan, rng), plan, rng)


def _per_cause(
    eta: FloatArray, mda5: NDArray[np.bool_], image: FloatArray, plan: Variant
) -> tuple[FloatArray, tuple[float, ...]]:
    if not plan.competing:
        return eta[:, None], (MAIN_SCALE_YEARS,)
    progression = 0.6 * eta - 0.6 * mda5 + 0.3 * image[:, 1]
    transplant = 0.3 * image[:, 1] - 0.3 * mda5
    return np.column_stack([progression, eta, transplant]), (4.0, 14.0, 90.0)


def _inputs(
    num_patients: int, embedding: FloatArray, clinical: tuple[FloatArray, ...], centre: NDArray[np.int64]
) -> PrognosticData:
    return PrognosticData(
        case_ids=tuple(f"p{index:06d}" for index in range(num_patients)),
        covariate_names=("age", "ferritin", "fvc"),
        covariates=np.column_stack(clinical),
        embedding=embedding,
        centres=tuple(f"centre_{index:02d}" for index in centre),
    )


def _with_antibodies(cohort: Cohort, kind: NDArray[np.int64], plan: Variant, rng: np.random.Generator) -> Cohort:
    keys = load_antibody_vocabulary().keys
    num_patients = len(kind)
    states = np.zeros((num_patients, len(keys)), dtype=np.int8)
    states[kind == 0, keys.index("mda5")] = 1
    member = rng.choice(len(ARS_MEMBERS), num_patients, p=ARS_SHARES)
    for index, name in enumerate(ARS_MEMBERS):
        states[(kind == 1) & (member == index), keys.index(name)] = 1
    states[:, keys.index("ro52")] = rng.random(num_patients) < 0.4
    states[:, [keys.index(name) for name in ("zo", "ha", "hmgcr", "ars")]] = -1
    untested = rng.random(num_patients)
    if plan.informative_testing:
        states[untested > np.where(kind == 0, 0.85, 0.35)] = -1
    else:
        states[untested < plan.untested] = -1
    return replace(cohort, data=cohort.data.replaced(antibody_keys=keys, antibodies=states))


def _with_outcomes(cohort: Cohort, plan: Variant, rng: np.random.Generator) -> Cohort:
    num_patients = len(cohort.is_mda5)
    rates = np.stack([s**-cohort.shape for s in cohort.scale_years], axis=1) * np.exp(cohort.log_hazard)
    years = (rng.exponential(size=num_patients) / rates.sum(axis=1)) ** (1 / cohort.shape)
    shares = np.cumsum(rates / rates.sum(axis=1, keepdims=True), axis=1)
    cause = 1 + (rng.random(num_patients)[:, None] > shares).sum(axis=1)
    censored = np.minimum(rng.exponential(9.0, num_patients), rng.uniform(0.5, 7.0, num_patients))
    time_days = np.minimum(years, censored) * DAYS_PER_YEAR
    cause = np.where(years <= censored, np.minimum(cause, len(cohort.scale_years)), 0)
    if plan.permuted:
        order = rng.permutation(num_patients)
        time_days, cause = time_days[order], cause[order]
    return replace(cohort, data=cohort.data.replaced(time_days=time_days, cause=cause.astype(np.int64)))


def deploy(cohort: Cohort, untested: float, seed: int) -> Cohort:
    """The same patients where a random share of them has no antibody result."""
    assert cohort.data.antibodies is not None
    states = cohort.data.antibodies.copy()
    states[np.random.default_rng([seed, 3]).random(len(states)) < untested] = -1
    return replace(cohort, data=cohort.data.replaced(antibodies=states))
