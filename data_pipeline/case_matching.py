"""Which study belongs to which row of the case table. What does not match is returned with a reason, never lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.archive_members import split_source
from domain.errors import StudyError
from domain.findings import QualityCode, Severity, Stage
from domain.records import Case, SeriesRef


@dataclass(frozen=True, slots=True)
class Study:
    """All series of one study, the chosen one first where there is one."""

    study_key: str
    series: tuple[SeriesRef, ...]

    @property
    def chosen(self) -> SeriesRef | None:
        """The selected series, or None where every candidate was refused."""
        return next((series for series in self.series if series.selected), None)

    @property
    def fullest(self) -> SeriesRef:
        """The series with the most slices."""
        return max(self.series, key=lambda series: series.table.num_slices)

    def refusal(self) -> StudyError:
        """Why no series of the study can be used: the most telling candidate's reason."""
        fullest = self.fullest
        reasons = [finding for finding in fullest.findings if finding.severity is Severity.REJECT]
        if not reasons:
            return StudyError(Stage.SELECT, QualityCode.NO_USABLE_SERIES, fullest.message or "no series was chosen")
        return StudyError(Stage.SELECT, reasons[0].code, "; ".join(finding.message for finding in reasons))


@dataclass(frozen=True, slots=True)
class MatchedCase:
    """A row of the table, a study, or both."""

    case: Case | None
    study: Study | None
    problem: StudyError | None = None

    @property
    def series(self) -> SeriesRef | None:
        """The series to read, or None where there is a problem."""
        return None if self.problem or self.study is None else self.study.chosen

    @property
    def shown_series(self) -> SeriesRef | None:
        """The series that leads back to the source, also of a study that was refused; None without a study."""
        return None if self.study is None else self.study.series[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of all series of the study, an archive for its members; none without a study."""
        series = () if self.study is None else self.study.series
        return tuple(dict.fromkeys(Path(split_source(name)[0]) for one in series for name in one.files))


def group_studies(series: Sequence[SeriesRef]) -> tuple[Study, ...]:
    """Series by study, in order of first appearance."""
    by_study: dict[str, list[SeriesRef]] = {}
    for one in series:
        by_study.setdefault(one.study_key, []).append(one)
    return tuple(
        Study(key, tuple(sorted(members, key=lambda member: not member.selected))) for key, members in by_study.items()
    )


def match_cases(cases: Sequence[Case], series: Sequence[SeriesRef], scans: Path) -> tuple[MatchedCase, ...]:
    """Pair rows with studies by folder, file or StudyInstanceUID.

    Args:
        cases: Rows of the table; empty when there is no table.
        series: All series found under ``scans``.
        scans: The folder ``Case.scan`` is relative to.

    Returns:
        One entry per row in order, then one per study no row names. An entry without a usable series carries the
        problem. A row without a ``scan`` is an entry without a study and without a problem.
    """
    studies = group_studies(series)
    by_name = _studies_by_name(studies) if cases else {}
    rows = [_match_row(case, by_name, scans) for case in cases]
    taken = {row.study.study_key for row in rows if row.study is not None}
    rest = [_usable(None, study) for study in studies if study.study_key not in taken]
    return (*rows, *rest)


def _match_row(case: Case, by_name: Mapping[str | Path, Sequence[Study]], scans: Path) -> MatchedCase:
    if case.scan is None:
        return MatchedCase(case, None)
    by_uid, by_place = by_name.get(case.scan, ()), by_name.get((scans / case.scan).resolve(), ())
    found = list({study.study_key: study for study in (*by_uid, *by_place)}.values())
    if not found:
        message = f"no CT series stands at the place the case table names for {case.case_id}; correct its scan column"
        return MatchedCase(case, None, StudyError(Stage.SELECT, QualityCode.SCAN_NOT_FOUND, message))
    usable = [study for study in found if study.chosen is not None]
    if len(usable) > 1:
        message = f"{len(usable)} studies stand at the place of {case.case_id}; name one by its StudyInstanceUID"
        return MatchedCase(case, usable[0], StudyError(Stage.SELECT, QualityCode.AMBIGUOUS_SCAN, message))
    return _usable(case, (usable or found)[0])


def _usable(case: Case | None, study: Study) -> MatchedCase:
    return MatchedCase(case, study, None if study.chosen else study.refusal())


def _studies_by_name(studies: Sequence[Study]) -> dict[str | Path, list[Study]]:
    """Every name a row can call a study by: its UID, its first file, and every folder above that.

    Each file is looked at once: a table of ten thousand rows against as many studies is ordinary.
    """
    by_name: dict[str | Path, list[Study]] = {}
    for study in studies:
        names: set[str | Path] = set()
        for series in study.series:
            names.add(series.identity.study_uid)
            for file in series.files[:1]:
                path = Path(split_source(file)[0]).resolve()
                names.update((path, *path.parents))
        for name in names:
            by_name.setdefault(name, []).append(study)
    return by_name
