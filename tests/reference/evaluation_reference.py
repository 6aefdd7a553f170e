"""Makes ``evaluation_reference.json``: survival figures of other programs on a fixed data set, with their versions.

Run from the root of the repository, where scikit-survival and lifelines are installed::

    python tests/reference/evaluation_reference.py

The data are drawn by a linear congruential generator written out here, so that any language can repeat them; the
stored figures then let the tests check ours without those packages.
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

NUM_CASES = 120
DAYS = (120.0, 240.0, 480.0)
TAU = 600.0
PACKAGES = ("lifelines", "scikit-survival", "numpy")


def uniform(seed: int, how_many: int) -> np.ndarray:
    """Numerical Recipes' generator, 32 bit: x -> 1664525 x + 1013904223, as numbers in (0, 1)."""
    values, state = [], seed
    for _ in range(how_many):
        state = (1664525 * state + 1013904223) % 2**32
        values.append((state + 0.5) / 2**32)
    return np.array(values)


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Risk score, time, cause (0, 1, 2) and predicted probability of no event at ``DAYS``."""
    score = 2 * uniform(1, NUM_CASES) - 1
    hazard = np.exp(1.2 * score) / 400
    event = -np.log(uniform(2, NUM_CASES)) / hazard
    censored = -np.log(uniform(3, NUM_CASES)) * 700
    cause = np.where(event <= censored, np.where(uniform(4, NUM_CASES) < 0.6, 1, 2), 0)
    free = np.exp(-np.outer(np.exp(0.8 * score) / 400, DAYS))
    return score, np.minimum(event, censored), cause, free


def main() -> None:
    from lifelines import AalenJohansenFitter, KaplanMeierFitter
    from sksurv import metrics

    score, time_days, cause, free = draw()
    outcome = np.array(list(zip(cause > 0, time_days, strict=True)), dtype=[("event", bool), ("time", float)])
    figures: dict[str, object] = {
        "uno_c": metrics.concordance_index_ipcw(outcome, outcome, score, tau=TAU)[0],
        "harrell_c": metrics.concordance_index_censored(cause > 0, time_days, score)[0],
        "auc_at": metrics.cumulative_dynamic_auc(outcome, outcome, score, list(DAYS))[0].tolist(),
        "brier_at": metrics.brier_score(outcome, outcome, free, list(DAYS))[1].tolist(),
        "ibs": metrics.integrated_brier_score(outcome, outcome, free, list(DAYS)),
        "kaplan_meier": KaplanMeierFitter().fit(time_days, cause > 0).predict(list(DAYS)).tolist(),
    }
    for wanted in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitter = AalenJohansenFitter(calculate_variance=False).fit(time_days, cause, event_of_interest=wanted)
        table = fitter.cumulative_density_.iloc[:, 0]
        figures[f"aalen_johansen_{wanted}"] = [float(table[table.index <= day].iloc[-1]) for day in DAYS]
    document = {
        "made_by": "tests/reference/evaluation_reference.py",
        "versions": {name: version(name) for name in PACKAGES},
        "days": DAYS,
        "tau": TAU,
        "tolerance": 1e-9,
        "score": score.tolist(),
        "time_days": time_days.tolist(),
        "cause": cause.tolist(),
        "event_free": free.tolist(),
        "figures": figures,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
