"""Does the model answer from the site or the scanner instead of the disease: tests that a planted shortcut fails.

Three questions, each with an effect size, so that a large cohort does not flag trifles:
1. Is the label associated with the site at all (a shortcut is on offer)?
2. Does the predicted probability depend on the site among cases of one label (the offer was taken, or the spectrum
   of disease differs)?
3. Does the score lose when cases are compared within sites only (the site carries part of it)?
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.evaluation_result import Caution
from domain.patterns import NUM_PATTERNS, PATTERNS
from evaluation.cohort import UNKNOWN_CAUSE, Cohort
from evaluation.discrimination import macro_average, one_vs_rest_auc
from evaluation.intervals import FloatArray, interval
from evaluation.pattern_part import labelled_rows

IntArray = NDArray[np.int64]

NUM_PERMUTATIONS = 500
MAX_P_VALUE = 0.01
MIN_CASES = 40
MIN_CASES_PER_GROUP = 8
MIN_ASSOCIATION = 0.30  # corrected Cramer's V from which a label-site association is worth saying
MIN_PROBABILITY_GAP = 0.15  # between groups, same label
MIN_AUC_LOSS = 0.05  # macro AUC, pooled less within groups
LEAK_SHARE = 0.95  # of cases with an event, and of cases without


@dataclass(frozen=True, slots=True)
class GroupDependence:
    """How predictions depend on a grouping given the label.

    Attributes:
        gap: Largest difference between two groups in mean probability of one pattern, same label.
        pattern: The pattern it is about.
        p_value: By permuting groups within labels.
    """

    gap: float
    pattern: str
    p_value: float


def find_shortcuts(cohort: Cohort, counts: FloatArray, level: float, seed: int) -> list[Caution]:
    """Cautions about site, scanner where the table names it, and any quality code that enough scans carry.

    Args:
        cohort: Evaluated cases.
        counts: Bootstrap counts, shape (R, N).
        level: Level of the interval of the AUC loss.
        seed: Seed of the permutations.
    """
    rows = labelled_rows(cohort)
    if rows.sum() < MIN_CASES:
        return []
    part, counts = cohort.take(rows), counts[:, rows]
    found: list[Caution] = []
    for name, values in _groupings(part).items():
        groups = _usable_groups(values)
        if groups is not None:
            found += _about(name, part, groups, (counts, level, seed))
    return found


def association(labels: FloatArray, groups: IntArray) -> float:
    """Bias-corrected Cramer's V between label and group; groups below 0 are left out. 0 none, 1 complete.

    Source:
        Bergsma W. J Korean Stat Soc 2013;42:323-328.
    """
    used = groups >= 0
    names = np.unique(groups[used])
    table = np.array([labels[groups == name].sum(axis=0) for name in names])
    table = table[:, table.sum(axis=0) > 0]
    rows, columns, total = table.shape[0], table.shape[1], table.sum()
    if rows < 2 or columns < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    phi = float(((table - expected) ** 2 / expected).sum() / total)
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
    smaller = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1))
    return float(np.sqrt(phi / max(smaller - 1, 1e-9)))


def dependence_given_label(
    probabilities: FloatArray, labels: FloatArray, groups: IntArray, seed: int
) -> GroupDependence:
    """Spread of mean probabilities between groups among cases of one label, with a permutation test."""
    named = labels.argmax(axis=1)
    generator = np.random.default_rng(seed)
    seen, gap, pattern = _spread(probabilities, named, groups)
    larger = 0
    for _ in range(NUM_PERMUTATIONS):
        shuffled = groups.copy()
        for label in range(NUM_PATTERNS):
            places = np.flatnonzero(named == label)
            shuffled[places] = groups[generator.permutation(places)]
        larger += _spread(probabilities, named, shuffled)[0] >= seen - 1e-12
    return GroupDependence(gap, PATTERNS[pattern].value, (larger + 1) / (NUM_PERMUTATIONS + 1))


def auc_loss_within_groups(
    probabilities: FloatArray, labels: FloatArray, groups: IntArray, counts: FloatArray
) -> FloatArray:
    """Macro AUC of all pairs less that of pairs within a group, over patterns that have both. (R,)."""
    pooled = one_vs_rest_auc(probabilities, labels, counts)
    within = one_vs_rest_auc(probabilities, labels, counts, groups)
    both = np.isfinite(pooled) & np.isfinite(within)
    return macro_average(np.where(both, pooled - within, np.nan))


def find_outcome_leaks(cohort: Cohort) -> list[Caution]:
    """Covariates whose being known nearly equals having had the event: recorded after it, most likely."""
    rows = cohort.cause != UNKNOWN_CAUSE
    had_event = cohort.cause[rows] > 0
    if had_event.sum() < 10 or (~had_event).sum() < 10:
        return []
    cases = [case for case, use in zip(cohort.cases, rows, strict=True) if use]
    found = []
    for key in sorted({key for case in cases for key in case.covariates}):
        known = np.array([key in case.covariates for case in cases])
        if known.all() or not known.any():
            continue
        with_event, without = float(known[had_event].mean()), float(known[~had_event].mean())
        agreement = max(min(with_event, 1 - without), min(1 - with_event, without))  # where events are rare, both count
        if agreement >= LEAK_SHARE:
            message = (
                f"Whether {key} is known agrees with the outcome in at least {agreement:.0%} of the cases with an "
                "event and of those without: it was probably recorded because of the outcome. Leave it out, or state "
                "when it is measured."
            )
            found.append(Caution(code="leak_suspected", message=message, facts={"agreement": agreement, "key": key}))
    return found


def _groupings(part: Cohort) -> dict[str, tuple[str, ...]]:
    groupings = {"site": part.sites} | {name: tuple(map(str, values)) for name, values in part.scanners.items()}
    for code in sorted({code for codes in part.quality_codes for code in codes}):
        groupings[f"quality code {code}"] = tuple(
            "with" if code in codes else "without" for codes in part.quality_codes
        )
    return groupings


def _usable_groups(values: tuple[str, ...]) -> IntArray | None:
    """Group numbers, -1 for a blank or small group; None when fewer than two are left."""
    names = [name for name in sorted(set(values) - {""}) if values.count(name) >= MIN_CASES_PER_GROUP]
    if len(names) < 2:
        return None
    return np.array([names.index(value) if value in names else -1 for value in values], dtype=np.int64)


def _about(name: str, part: Cohort, groups: IntArray, context: tuple[FloatArray, float, int]) -> list[Caution]:
    counts, level, seed = context
    used = groups >= 0
    probabilities, labels, kept = part.probabilities[used], part.labels[used], groups[used]
    strength = association(labels, kept)
    dependence = dependence_given_label(probabilities, labels, kept, seed)
    loss = interval(auc_loss_within_groups(probabilities, labels, kept, counts[:, used]), level)
    facts: dict[str, float | str] = {"association": round(strength, 3), "gap": round(dependence.gap, 3)}
    facts |= {"p_value": round(dependence.p_value, 4)}
    if np.isfinite(loss.value):
        facts["auc_loss_within"] = round(loss.value, 3)
    depends = dependence.p_value <= MAX_P_VALUE and dependence.gap >= MIN_PROBABILITY_GAP
    loses = np.isfinite(loss.lo) and loss.lo > 0 and loss.value >= MIN_AUC_LOSS
    if depends or loses:
        return [
            Caution(code=_code(name, "shortcut"), message=_shortcut_words(name, dependence, loss.value), facts=facts)
        ]
    if strength >= MIN_ASSOCIATION:
        message = (
            f"The label is associated with {name} (corrected Cramer's V {strength:.2f}), so a model could answer from "
            "it. No sign was found that this one does."
        )
        return [Caution(code=_code(name, "confounded"), message=message, facts=facts)]
    return []


def _shortcut_words(name: str, dependence: GroupDependence, loss: float) -> str:
    lost = f", and macro AUC is {loss:.2f} lower within groups than across them" if loss >= MIN_AUC_LOSS else ""
    return (
        f"Predictions follow {name}: among cases with the same label the mean probability of {dependence.pattern} "
        f"differs by {dependence.gap:.2f} between groups (permutation p = {dependence.p_value:.3f}){lost}. Either the "
        f"disease differs by {name}, or the model reads {name} instead of the disease: compare it on cases where the "
        "two disagree."
    )


def _code(name: str, kind: str) -> str:
    return f"{kind}_{name.replace(' ', '_')}"


def _spread(probabilities: FloatArray, named: IntArray, groups: IntArray) -> tuple[float, float, int]:
    """Between-group variance of mean probabilities within labels (weighted), the largest gap, and its pattern."""
    variance, gap, pattern = 0.0, 0.0, 0
    num_groups = int(groups.max()) + 1
    for label in np.unique(named):
        rows = named == label
        size = np.bincount(groups[rows], minlength=num_groups).astype(np.float64)
        sums = np.stack(
            [np.bincount(groups[rows], weights=column, minlength=num_groups) for column in probabilities[rows].T]
        )
        means = np.where(size > 0, sums / np.maximum(size, 1), np.nan)  # (K, groups)
        overall = probabilities[rows].mean(axis=0)[:, None]
        variance += float(np.nansum(size * (means - overall) ** 2))
        enough = np.where(size >= MIN_CASES_PER_GROUP // 2, means, np.nan)
        if np.isfinite(enough).any(axis=1).all() and (size >= MIN_CASES_PER_GROUP // 2).sum() >= 2:
            ranges = np.nanmax(enough, axis=1) - np.nanmin(enough, axis=1)
            if ranges.max() > gap:
                gap, pattern = float(ranges.max()), int(ranges.argmax())
    return variance, gap, pattern
