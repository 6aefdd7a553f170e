"""Which series of a study is the HRCT, and why, in plain words. Severity of findings is settled before, by policy."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator

from data_pipeline.quality import load_kernel_table
from domain.findings import Decision, QualityCode, Severity
from domain.records import SeriesRef
from domain.specs import Settings
from domain.volume import KernelClass

THICKNESS_STEPS_MM = (1.5, 2.0, 3.0, 5.0)  # within a step the sharper kernel counts for more than the thinner slice
FULL_HEIGHT_MM = 300.0  # holds nearly all adult lungs; more height is no merit
MAX_ALTERNATIVES = 3  # tried when the chosen series fails on its voxels; what fails them all lies in the study
HEIGHT_STEP_MM = 50.0  # smaller differences in height do not count
KERNEL_RANK = {KernelClass.SHARP: 0, KernelClass.UNKNOWN: 1, KernelClass.SOFT: 2}


def _readable_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression ({error})") from error
    return text


class SelectionOverrides(Settings):
    """A user's own choice. Series are named by key, SeriesInstanceUID or folder; rules are regular expressions.

    Attributes:
        exclude_series: Never used.
        include_series: Used whatever the ranking says, unless rejected.
        prefer_pattern: Series whose description, kernel or path it matches come first; case does not count.
    """

    exclude_series: tuple[str, ...] = ()
    include_series: tuple[str, ...] = ()
    prefer_pattern: Annotated[str, AfterValidator(_readable_pattern)] = ""


@dataclass(frozen=True, slots=True)
class _Criterion:
    """One step of the ranking: lower is better."""

    rank: Callable[[SeriesRef], float]
    words: Callable[[SeriesRef], str]


def _has(series: SeriesRef, code: QualityCode) -> bool:
    return code in series.codes


def _flag(code: QualityCode, bad: str, good: str) -> _Criterion:
    return _Criterion(lambda series: float(_has(series, code)), lambda series: bad if _has(series, code) else good)


def _thickness(series: SeriesRef) -> float:
    table = series.table
    return max(table.slice_thickness_mm or 0.0, min(table.slice_gap_mm or 0.0, 10.0)) or 99.0


def _height_mm(series: SeriesRef) -> float:
    return (series.table.slice_gap_mm or 0.0) * series.table.num_slices


def _height_words(series: SeriesRef) -> str:
    return f"{_height_mm(series):.0f} mm high"


def _kernel_class(series: SeriesRef) -> KernelClass:
    return load_kernel_table().classify(series.table.manufacturer or "", series.table.kernel or "")


def _kernel_words(series: SeriesRef) -> str:
    kernel = _kernel_class(series)
    name = f" ({series.table.kernel})" if series.table.kernel else ""
    return "kernel of unknown sharpness" + name if kernel is KernelClass.UNKNOWN else f"{kernel.value} kernel{name}"


CRITERIA: tuple[_Criterion, ...] = (
    _Criterion(
        lambda series: float(series.names_other_region),
        lambda series: "another part of the body named" if series.names_other_region else "no other part of the body",
    ),
    _flag(QualityCode.EXPIRATORY, "expiratory", "not expiratory"),
    _flag(QualityCode.PRONE, "prone", "supine"),
    _flag(QualityCode.PARTIAL_LUNG_COVERAGE, "too small a box for the lungs", "high and wide enough for the lungs"),
    _Criterion(lambda series: -min(_height_mm(series), FULL_HEIGHT_MM) // HEIGHT_STEP_MM, _height_words),
    _flag(QualityCode.DERIVED_REFORMAT, "computed from another series", "as reconstructed"),
    _flag(QualityCode.SEQUENTIAL_ACQUISITION, "slices with gaps", "no gaps"),
    _flag(QualityCode.GANTRY_TILT, "tilted gantry", "upright gantry"),
    _Criterion(
        lambda series: sum(_thickness(series) > step for step in THICKNESS_STEPS_MM),
        lambda series: f"{_thickness(series):.3g} mm slices",
    ),
    _Criterion(lambda series: KERNEL_RANK[_kernel_class(series)], _kernel_words),
    _flag(QualityCode.CONTRAST_ENHANCED, "with contrast", "without contrast"),
    _flag(QualityCode.LOSSY_COMPRESSED, "lossy compressed", "not lossy"),
    _Criterion(lambda series: round(_thickness(series), 2), lambda series: f"{_thickness(series):.3g} mm slices"),
    _Criterion(lambda series: -series.table.num_slices, lambda series: f"{series.table.num_slices} slices"),
)


def select_series(series: Iterable[SeriesRef], overrides: SelectionOverrides | None = None) -> tuple[SeriesRef, ...]:
    """Choose one series per study and say of every series why it was chosen, or not.

    Args:
        series: All series, findings and decision settled.
        overrides: A user's own choice.

    Returns:
        The same series in the same order, with ``selected`` and ``message`` filled in.
    """
    listed = list(series)
    studies: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(listed):
        studies[item.study_key].append(index)
    for members in studies.values():
        chosen = _choose([listed[index] for index in members], overrides or SelectionOverrides())
        for index, item in zip(members, chosen, strict=True):
            listed[index] = item
    return tuple(listed)


def _choose(study: list[SeriesRef], overrides: SelectionOverrides) -> list[SeriesRef]:
    usable = [
        item for item in study if item.decision is not Decision.REJECT and not _is_named(item, overrides.exclude_series)
    ]
    if not usable:
        return [replace(item, selected=False, message=_reject_message(item, overrides)) for item in study]
    winner, *losers = sorted(usable, key=lambda item: _ranking(item, overrides))
    others = {item.series_key: replace(item, message=_loser_message(item, winner, overrides)) for item in losers}
    is_named = _is_named(winner, overrides.include_series)  # the user wants this one, not the next best
    result = []
    for item in study:
        if item is winner:
            message = _winner_message(item, len(usable), overrides)
            alternatives = () if is_named else tuple(others.values())[:MAX_ALTERNATIVES]
            result.append(replace(item, selected=True, message=message, alternatives=alternatives))
        else:
            rejected = replace(item, selected=False, message=_reject_message(item, overrides))
            result.append(others.get(item.series_key, rejected))
    return result


def _is_named(item: SeriesRef, names: tuple[str, ...]) -> bool:
    own = {item.series_key, item.identity.series_uid, item.identity.path}
    return any(name in own or item.identity.path.rstrip("/").endswith("/" + name.strip("/")) for name in names)


def _is_preferred(item: SeriesRef, overrides: SelectionOverrides) -> bool:
    if not overrides.prefer_pattern:
        return False
    texts = (item.identity.description, item.table.kernel or "", item.identity.path)
    return any(re.search(overrides.prefer_pattern, text, re.IGNORECASE) for text in texts)


def _ranking(item: SeriesRef, overrides: SelectionOverrides) -> tuple[object, ...]:
    own_choice = (not _is_named(item, overrides.include_series), not _is_preferred(item, overrides))
    return (*own_choice, *(criterion.rank(item) for criterion in CRITERIA))  # of equals the first listed wins


def _winner_message(item: SeriesRef, num_usable: int, overrides: SelectionOverrides) -> str:
    words = list(dict.fromkeys(criterion.words(item) for criterion in CRITERIA))
    start = (
        "chosen: the only usable series of the study" if num_usable == 1 else f"chosen of {num_usable} usable series"
    )
    if _is_named(item, overrides.include_series) or _is_preferred(item, overrides):
        start += ", by the user's choice"
    return f"{start}: {', '.join(words)}"


def _loser_message(item: SeriesRef, winner: SeriesRef, overrides: SelectionOverrides) -> str:
    if _ranking(item, overrides)[:2] != _ranking(winner, overrides)[:2]:
        return "not chosen: the user named another series"
    for criterion in CRITERIA:
        if criterion.rank(item) != criterion.rank(winner):
            return f"not chosen: {criterion.words(item)}, the chosen one has {criterion.words(winner)}"
    return "not chosen: equal to the chosen one in every respect"


def _reject_message(item: SeriesRef, overrides: SelectionOverrides) -> str:
    if _is_named(item, overrides.exclude_series):
        return "excluded by the user"
    reasons = [finding.message for finding in item.findings if finding.severity is Severity.REJECT]
    return "rejected: " + "; ".join(reasons)
