"""Public survival data that ships inside scikit-survival: the head against ridge Cox on the same splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from sksurv.datasets import load_flchain, load_gbsg2, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv

from domain.endpoints import Cause, Endpoint, RiskGroup
from domain.prognostic_data import PrognosticData
from domain.settings import PrognosisSettings
from models.prognosis import PrognosticModel

FloatArray = NDArray[np.float64]

COX_RIDGE = 0.1
NUM_FOLDS = 5
MAX_SCORED = 2000  # FLCHAIN: Uno's C is quadratic in the size of the test fold
LEAKS = {"flchain": ["chapter"], "whas500": ["los"], "gbsg2": []}  # outcome leak; known after baseline


def load(name: str) -> tuple[pd.DataFrame, FloatArray, NDArray[np.int64]]:
    """Numeric columns without leaks, time in days, event."""
    features, target = {"whas500": load_whas500, "gbsg2": load_gbsg2, "flchain": load_flchain}[name]()
    event_field, time_field = target.dtype.names
    features = features.drop(columns=LEAKS[name])
    numeric = pd.get_dummies(features, drop_first=True, dtype=float).astype(float)
    return numeric, target[time_field].astype(float), target[event_field].astype(np.int64)


def endpoint_for(name: str, time_days: FloatArray) -> Endpoint:
    """Death with edges at quantiles of follow-up: what a cohort's own YAML would say."""
    edges = [0.0, *np.unique(np.round(np.quantile(time_days, np.linspace(0.08, 1, 12)))).tolist()]
    horizon = int(edges[len(edges) // 2])
    return Endpoint(
        name=name, title="Death", survival_means="alive", causes=(Cause(key="death", name="Death", events=("death",)),),
        censored_events=("alive",), horizons_days=(horizon,), grid_days=tuple(edges), risk_horizon_days=horizon,
        risk_groups=(RiskGroup(key="all", below=1.0),), source="scikit-survival",
    )  # fmt: skip


def as_data(features: pd.DataFrame, time_days: FloatArray, event: NDArray[np.int64]) -> PrognosticData:
    """The arrays of the head."""
    return PrognosticData(
        case_ids=tuple(f"r{index:05d}" for index in features.index),
        covariate_names=tuple(features.columns),
        covariate_blocks=("clinical",) * features.shape[1],
        covariates=features.to_numpy(),
        time_days=time_days,
        cause=event,
    )


def compare(name: str, seed: int) -> tuple[float, float, float, float]:
    """Mean over folds: C of the head, C of ridge Cox, IBS of the head, IBS of ridge Cox."""
    features, times, event = load(name)
    endpoint = endpoint_for(name, times)
    scores = []
    for train, test in StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed).split(features, event):
        last = np.quantile(times[train][event[train] > 0], 0.9)
        test = test[:MAX_SCORED]
        head = PrognosticModel.fit(
            as_data(features.iloc[train], times[train], event[train]), PrognosisSettings(num_bootstrap=0), endpoint
        )
        centre = features.iloc[train].mean()
        spread = features.iloc[train].std().replace(0.0, 1.0)
        scaled = ((features - centre) / spread).fillna(0.0).to_numpy()
        positive = np.maximum(times, 0.5)
        surv = Surv.from_arrays(event > 0, positive)
        cox = CoxPHSurvivalAnalysis(alpha=COX_RIDGE).fit(scaled[train], surv[train])
        days = np.linspace(np.quantile(times[test][event[test] > 0], 0.05), min(last, times[test].max() * 0.99), 40)
        head_curves = head.survival(as_data(features.iloc[test], times[test], event[test]), days)
        cox_curves = np.array([f(np.clip(days, *f.domain)) for f in cox.predict_survival_function(scaled[test])])
        capped = Surv.from_arrays((event > 0) & (times <= last), np.minimum(positive, last))
        reference = np.concatenate([surv[train], surv[test]])
        pair = []
        for curves in (head_curves, cox_curves):
            risk = 1.0 - curves.mean(axis=1)
            pair.append(concordance_index_ipcw(reference, capped[test], risk, tau=days[-1])[0])
            pair.append(integrated_brier_score(reference, surv[test], curves, days))
        scores.append(pair)
    c_head, b_head, c_cox, b_cox = np.mean(scores, axis=0)
    return c_head, c_cox, b_head, b_cox


def real_data_rows(scale: float) -> list[tuple[str, int, str, str, str, str]]:
    """Rows for the table, paired over seeds."""
    rows = []
    for name, size in (("whas500", 500), ("gbsg2", 686), ("flchain", 7874)):
        seeds = range(max(1, round(5 * scale)))
        figures = np.array([compare(name, seed) for seed in seeds])
        c_head, c_cox, b_head, b_cox = figures.mean(axis=0)
        what = f"Uno C against ridge Cox, {NUM_FOLDS} folds x {len(seeds)} seeds"
        met = "met" if c_head - c_cox >= -0.010 else "**not met**"
        shown = f"{c_head:.4f} against {c_cox:.4f} ({c_head - c_cox:+.4f})"
        rows.append((f"public data: {name.upper()}", size, what, shown, ">= -0.010", met))
        met = "met" if b_head - b_cox <= 0.004 else "**not met**"
        shown = f"{b_head:.4f} against {b_cox:.4f} ({b_head - b_cox:+.4f})"
        rows.append((f"public data: {name.upper()}", size, "IBS against ridge Cox", shown, "<= +0.004", met))
    return rows
