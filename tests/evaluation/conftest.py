"""Tables with a known truth: the shape of predictions.csv and cases.csv, made in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from domain.antibodies import AntibodyResult, AntibodyStatus
from domain.endpoints import Endpoint, load_endpoint
from domain.patterns import PATTERNS
from domain.records import Case, Outcome

Tables = tuple[pd.DataFrame, tuple[Case, ...]]


def antibody_results(generator: np.random.Generator, is_mda5: bool, is_tested: bool) -> dict[str, AntibodyResult]:
    if not is_tested:
        return {}
    positive, negative = AntibodyResult(AntibodyStatus.POSITIVE), AntibodyResult(AntibodyStatus.NEGATIVE)
    is_jo1 = not is_mda5 and generator.random() < 0.6
    results = {"mda5": positive if is_mda5 else negative, "jo1": positive if is_jo1 else negative, "pl7": negative}
    if generator.random() < 0.8:
        results["ro52"] = positive if generator.random() < 0.5 else negative
    return results


def make_tables(
    num_cases: int = 240,
    seed: int = 0,
    *,
    image_effect: float = 1.0,
    pattern_skill: float = 2.0,
    num_readers: int = 1,
    event_scale_days: float = 900.0,
) -> Tables:
    """Cases whose hazard depends on MDA5 and on an image number, with the exactly right prediction for each."""
    generator = np.random.default_rng(seed)
    is_mda5, is_tested = generator.random(num_cases) < 0.35, generator.random(num_cases) < 0.8
    image = generator.normal(size=num_cases)
    age = generator.normal(55, 12, num_cases)
    rate = np.exp(0.9 * is_mda5 + image_effect * image + 0.02 * (age - 55)) / event_scale_days
    event_time = generator.exponential(1 / rate)
    censoring = np.minimum(generator.exponential(2500, num_cases), generator.uniform(300, 3000, num_cases))
    is_death = generator.random(num_cases) < 0.5
    label = generator.choice(4, size=num_cases, p=[0.4, 0.3, 0.2, 0.1])
    days = load_endpoint("course").horizons_days
    logits = generator.normal(size=(num_cases, 4))
    logits[np.arange(num_cases), label] += pattern_skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cases, rows = [], []
    for i in range(num_cases):
        event = "alive" if censoring[i] < event_time[i] else ("death" if is_death[i] else "progression")
        votes = {}
        for reader in range(num_readers):
            pick = label[i] if generator.random() < 0.8 or num_readers == 1 else generator.integers(4)
            votes[f"reader{reader}"] = PATTERNS[int(pick)]
        covariates: dict[str, float | str] = {"age": float(age[i]), "sex": "female" if i % 3 else "male"}
        if generator.random() < 0.7:
            covariates |= {
                "ferritin": float(np.exp(generator.normal(5 + is_mda5[i], 0.6))),
                "ldh": 300.0 + 20 * image[i],
            }
            covariates |= {
                "crp": float(np.exp(generator.normal(-0.5, 1))),
                "kl6": float(np.exp(generator.normal(6.8, 0.4))),
            }
        cases.append(
            Case(
                case_id=f"c{i:04d}",
                patient_id=f"p{i:04d}",
                site=f"site{i % 3}",
                pattern_votes=votes,
                antibodies=antibody_results(generator, bool(is_mda5[i]), bool(is_tested[i])),
                covariates=covariates,
                outcome=Outcome(float(np.ceil(min(event_time[i], censoring[i]))), event),
            )
        )
        survival = np.exp(-rate[i] * np.array(days))
        rows.append(
            {
                "case_key": f"c{i:04d}",
                "status": "predicted",
                "pattern": PATTERNS[int(probabilities[i].argmax())].value,
                **{f"p_{pattern}": probabilities[i, k] for k, pattern in enumerate(PATTERNS)},
                "pattern_set": "|".join(p.value for k, p in enumerate(PATTERNS) if probabilities[i, k] > 0.1),
                "abstained": False,
                "ggo_percent": 20 + 5 * image[i],
                "consolidation_percent": 5.0,
                "reticulation_percent": 8.0,
                "high_attenuation_percent": 30 + 6 * image[i] + generator.normal(),
                **{f"survival_{day}d": value for day, value in zip(days, survival, strict=True)},
                **{f"cif_death_{day}d": (1 - value) / 2 for day, value in zip(days, survival, strict=True)},
                **{f"cif_progression_{day}d": (1 - value) / 2 for day, value in zip(days, survival, strict=True)},
                **{f"cif_transplant_{day}d": 0.0 for day in days},
                "risk_group": load_endpoint("course").risk_group(1 - survival[2]),
            }
        )
    return pd.DataFrame(rows), tuple(cases)


@pytest.fixture(scope="session")
def tables() -> Callable[..., Tables]:
    return make_tables


@pytest.fixture(scope="session")
def course() -> Endpoint:
    return load_endpoint("course")
