"""Names of metrics for people, their grouping on the page, and the sentences at its top."""

from __future__ import annotations

from domain.evaluation_result import Difference, EvaluationResult, Metric

METRIC_NAMES: dict[str, str] = {
    "auc_macro": "AUC, mean of the four patterns",
    "auc_nsip": "AUC, NSIP against the rest",
    "auc_op": "AUC, OP against the rest",
    "auc_mixed": "AUC, mixed against the rest",
    "auc_other": "AUC, other against the rest",
    "auc_nsip_component": "AUC, NSIP component present",
    "auc_op_component": "AUC, OP component present",
    "accuracy": "Accuracy, every case answered",
    "accuracy_when_answered": "Accuracy, abstentions left out",
    "answered_share": "Share answered",
    "accuracy_of_most_frequent": "Accuracy of always naming the most frequent pattern",
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Cohen's kappa",
    "f1_macro": "F1, mean of the four patterns",
    "f1_nsip": "F1, NSIP",
    "f1_op": "F1, OP",
    "f1_mixed": "F1, mixed",
    "f1_other": "F1, other",
    "reader_agreement": "Agreement between readers",
    "reader_kappa": "Kappa between readers",
    "brier": "Brier score (0 best, 2 worst)",
    "log_loss": "Log loss, nats",
    "ece": "Expected calibration error",
    "ece_if_perfectly_calibrated": "The same if calibration were perfect, at this size",
    "set_coverage": "Prediction set holds the reference",
    "set_coverage_nsip": "The same, NSIP",
    "set_coverage_op": "The same, OP",
    "set_coverage_mixed": "The same, mixed",
    "set_coverage_other": "The same, other",
    "set_size": "Patterns per set",
    "single_answer_share": "Sets with one pattern",
    "uno_c": "Uno's C",
    "harrell_c": "Harrell's C",
    "uno_c_within_site": "Uno's C, pairs of one site",
    "ibs": "Integrated Brier score",
    "ipa": "Index of prediction accuracy",
    "auc_at": "AUC(t)",
    "brier_at": "Brier(t)",
    "observed_over_expected": "Observed / expected",
    "calibration_slope": "Calibration slope",
    "ici": "Integrated calibration index",
    "a_calibration_p": "A-calibration, p-value",
}

GROUPS: tuple[tuple[str, frozenset[str]], ...] = (
    ("ordering", frozenset(name for name in METRIC_NAMES if name.startswith("auc_") and name != "auc_at")),
    (
        "naming",
        frozenset(
            {"accuracy", "accuracy_when_answered", "answered_share", "accuracy_of_most_frequent", "balanced_accuracy"}
        )
        | frozenset({"kappa", "reader_agreement", "reader_kappa"})
        | frozenset(name for name in METRIC_NAMES if name.startswith("f1_")),
    ),
    (
        "belief",
        frozenset({"brier", "log_loss", "ece", "ece_if_perfectly_calibrated", "set_size", "single_answer_share"})
        | frozenset(name for name in METRIC_NAMES if name.startswith("set_coverage")),
    ),
    (
        "ranking and overall error",
        frozenset({"uno_c", "uno_c_within_site", "harrell_c", "ibs", "ipa", "a_calibration_p"}),
    ),
    ("at each horizon", frozenset({"auc_at", "brier_at", "observed_over_expected", "calibration_slope", "ici"})),
)


def metric_name(name: str) -> str:
    """Name of a metric for people."""
    return METRIC_NAMES.get(name, name.replace("_", " "))


def subgroup_name(name: str) -> str:
    """``antibody_class=mda5`` as ``antibody class: mda5``."""
    return name.replace("=", ": ").replace("_", " ")


def headline(result: EvaluationResult) -> list[tuple[str, str, str]]:
    """The few figures to look at first: (what, figure, in words)."""
    lines: list[tuple[str, str, str]] = []
    accuracy, chance = result.find("accuracy"), result.find("accuracy_of_most_frequent")
    if accuracy is not None and accuracy.value is not None:
        words = f"of {accuracy.n} labelled cases; always naming the most frequent pattern: {_percent(chance)}"
        lines.append(("Pattern right", _percent_interval(accuracy), words))
    auc = result.find("auc_macro")
    if auc is not None and auc.value is not None:
        lines.append(("Pattern AUC", _interval(auc), "mean of the four patterns, each against the rest"))
    ranking = result.find("uno_c")
    if ranking is not None and ranking.value is not None:
        words = f"Uno's C, {ranking.n} cases, {ranking.events} events; 0.5 is chance"
        lines.append(("Course ranking", _interval(ranking), words))
    gain = next(
        (row for row in result.differences if (row.comparator, row.metric) == ("antibody_class", "uno_c")), None
    )
    if gain is not None and gain.value is not None:
        words = f"{_verdict(gain)} (C {gain.comparator_value:.3f} for Kaplan-Meier per antibody class, same pairs)"
        lines.append(("Gain over antibody class", _interval(gain, signed=True), words))
    error = result.find("ipa")
    if error is not None and error.value is not None:
        lines.append(("Error explained", _percent_interval(error), "1 - IBS / IBS of Kaplan-Meier for everyone"))
    return lines


def _verdict(gain: Difference) -> str:
    if gain.lo is not None and gain.lo > 0:
        return "ranks better than antibody class alone"
    if gain.hi is not None and gain.hi < 0:
        return "ranks worse than antibody class alone"
    return "not distinguishable from antibody class alone at this size"


def _percent(metric: Metric | None) -> str:
    return "n/a" if metric is None or metric.value is None else f"{metric.value:.0%}"


def _percent_interval(metric: Metric) -> str:
    limits = "" if metric.lo is None or metric.hi is None else f" ({metric.lo:.0%} to {metric.hi:.0%})"
    return f"{metric.value:.0%}{limits}"


def _interval(row: Metric | Difference, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    limits = "" if row.lo is None or row.hi is None else f" ({row.lo:{form}} to {row.hi:{form}})"
    return f"{row.value:{form}}{limits}"
