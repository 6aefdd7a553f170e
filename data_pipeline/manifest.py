"""The case table: CSV rows to typed cases, every problem collected and said at once. Reads no scan."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from domain.antibodies import GRADES, AntibodyResult, AntibodyStatus, AntibodyVocabulary
from domain.covariates import CovariateEntry, CovariateKind, CovariateValue, CovariateVocabulary
from domain.endpoints import Endpoint
from domain.errors import CaseTableError
from domain.patterns import Pattern, PatternVocabulary
from domain.quantities import GRADE_PREFIX, READER_EXTENTS
from domain.records import DEFAULT_EVENT_COLUMN, IGNORED_PREFIX, Case, Outcome
from domain.table_lines import delimiter_of, numbered_lines

SINGLE_READER = "consensus"  # reader name behind a plain ``pattern`` column
READER_PREFIX = "pattern_"  # of one column per reader
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "missing", "unknown"})
DEFAULT_TIME_COLUMN = "time_days"
PLAIN_COLUMNS = ("case_id", "patient_id", "scan", "site", DEFAULT_TIME_COLUMN, DEFAULT_EVENT_COLUMN)
MAX_GRADE = 100  # a column that reaches further holds a measurement, not a grade
CASE_ID_FORM = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")  # it becomes a file name


@dataclass
class _Row:
    """One row and the problems found in it so far."""

    number: int
    cells: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def cell(self, column: str) -> str:
        """Text of a cell; empty where it says missing or the column is absent."""
        text = (self.cells.get(column) or "").strip()
        return "" if text.casefold() in MISSING_WORDS else text

    def complain(self, column: str, message: str) -> None:
        """Note a problem with its place."""
        self.problems.append(f"row {self.number}, column {column}: {message}")

    def number_in(self, column: str) -> float | None:
        """A finite number, or None where missing or not readable (which is noted)."""
        text = self.cell(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            advice = "; use a point for decimals" if "," in text else "; leave the cell blank when it is not known"
            self.complain(column, f"expected a number, found {text!r}{advice}")
            return None
        if not math.isfinite(value):
            self.complain(column, f"expected a finite number, found {text!r}")
            return None
        return value


def read_cases(
    path: Path,
    antibodies: AntibodyVocabulary,
    covariates: CovariateVocabulary,
    patterns: PatternVocabulary,
    *,
    endpoints: Sequence[Endpoint] = (),
) -> tuple[Case, ...]:
    """Read a case table; the contract of its columns is in ``docs/case_table.md``.

    Args:
        path: CSV, comma or semicolon, UTF-8; lines beginning with ``#`` are comments.
        antibodies: Allowed ``ab_<key>`` columns.
        covariates: Allowed covariate columns with their units.
        patterns: Words of the pattern columns.
        endpoints: Their event words are the allowed ones, their time and event columns may stand beside the usual
            two. Without endpoints any word is allowed.

    Returns:
        One case per row, in order.

    Raises:
        CaseTableError: With every problem of the table, row and column named.
    """
    header, rows = _read_rows(path)
    outcomes = _outcome_columns(endpoints)
    known = {*PLAIN_COLUMNS, *READER_EXTENTS, *outcomes, *(time_column for time_column, _ in outcomes.values())}
    problems = _header_problems(header, known, antibodies, covariates)
    if problems:
        raise CaseTableError(path, problems)
    units = {column: (entry, factor) for entry in covariates.covariates
             for column, factor in entry.columns_with_factor.items()}  # fmt: skip
    readers = [column for column in header if column == "pattern" or column.startswith(READER_PREFIX)]
    grades = [column for column in header if column.startswith(GRADE_PREFIX)]
    cases = []
    for row in rows:
        cases.append(
            Case(
                case_id=_case_id(row),
                patient_id=row.cell("patient_id") or row.cell("case_id"),
                scan=row.cell("scan") or None,
                site=row.cell("site"),
                pattern_votes=_votes(row, readers, patterns),
                antibodies=_antibodies(row, antibodies),
                covariates=_covariates(row, units),
                outcome=_outcome(row, DEFAULT_EVENT_COLUMN, *outcomes[DEFAULT_EVENT_COLUMN]),
                further_outcomes=_further_outcomes(row, outcomes),
                extents_percent=_extents(row),
                grades=_grades(row, grades),
            )
        )
        problems += row.problems
    problems += _repeated([case.case_id for case in cases])
    if problems:
        raise CaseTableError(path, problems)
    return tuple(cases)


def _extents(row: _Row) -> dict[str, float]:
    """Readers' extents, percent; what is blank is left out."""
    found = {}
    for column in READER_EXTENTS:
        value = row.number_in(column)
        if value is not None and not 0 <= value <= 100:
            row.complain(column, f"expected percent of lung between 0 and 100, found {value:g}")
        elif value is not None:
            found[column] = value
    return found


def _grades(row: _Row, columns: Sequence[str]) -> dict[str, int]:
    """Readers' ordinal grades; what is blank is left out."""
    found = {}
    for column in columns:
        value = row.number_in(column)
        if value is not None and not (value.is_integer() and 0 <= value <= MAX_GRADE):
            row.complain(column, f"expected a grade, a whole number from 0 to {MAX_GRADE}, found {value:g}")
        elif value is not None:
            found[column] = int(value)
    return found


def _read_rows(path: Path) -> tuple[list[str], list[_Row]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CaseTableError(path, ["no such file"]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CaseTableError(path, [f"cannot be read as UTF-8 text: {error}"]) from error
    numbered = numbered_lines(text)
    if not numbered:
        raise CaseTableError(path, ["is empty; `python -m data_pipeline template --out cases.csv` writes one to fill"])
    first = numbered[0][1]
    delimiter = delimiter_of(first)
    parsed = list(_cells(path, numbered, delimiter))
    header = [name.strip() for name in parsed[0][1]]
    rows = []
    for number, cells in parsed[1:]:
        row = _Row(number, dict(zip(header, cells, strict=False)))
        if len(cells) > len(header):
            row.problems.append(f"row {number}: {len(cells)} cells for {len(header)} columns; quote cells with commas")
        rows.append(row)
    return header, rows


def _cells(path: Path, numbered: Sequence[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row with the number of its first line; an unclosed quote would swallow all rows after it."""
    reader = csv.reader((line for _, line in numbered), delimiter=delimiter, strict=True)
    first = 0
    try:
        for cells in reader:
            yield numbered[first][0], cells
            first = reader.line_num
    except csv.Error as error:
        message = f'row {numbered[first][0]}: a quote (") is not closed, or a cell goes on behind it: {error}'
        raise CaseTableError(path, [message]) from error


def _outcome_columns(endpoints: Sequence[Endpoint]) -> dict[str, tuple[str, frozenset[str]]]:
    """Event column -> its time column and the words allowed in it (none for any)."""
    columns: dict[str, tuple[str, frozenset[str]]] = {DEFAULT_EVENT_COLUMN: (DEFAULT_TIME_COLUMN, frozenset())}
    for endpoint in endpoints:
        words = {*endpoint.censored_events, *(word for cause in endpoint.causes for word in cause.events)}
        _, before = columns.get(endpoint.event_column, ("", frozenset()))
        columns[endpoint.event_column] = (endpoint.time_column, before | words)
    return columns


def _header_problems(
    header: Sequence[str], known: Collection[str], antibodies: AntibodyVocabulary, covariates: CovariateVocabulary
) -> list[str]:
    problems = [f"column {name!r} stands twice" for name in sorted({n for n in header if header.count(n) > 1})]
    problems += [] if "case_id" in header else ["column 'case_id' is missing"]
    if "pattern" in header and any(name.startswith(READER_PREFIX) for name in header):
        problems.append("has both 'pattern' and 'pattern_<reader>' columns; keep one form")
    for name in header:
        if name not in known and (problem := _column_problem(name, antibodies, covariates)):
            problems.append(problem)
    return problems


def _column_problem(name: str, antibodies: AntibodyVocabulary, covariates: CovariateVocabulary) -> str | None:
    if name == "pattern" or name.startswith((READER_PREFIX, GRADE_PREFIX, IGNORED_PREFIX)):
        return None
    if name.startswith("ab_"):
        key = re.sub(r"_(grade|assay|day)$", "", name.removeprefix("ab_"))
        known = ", ".join(antibodies.keys)
        return None if key in antibodies.keys else f"column {name!r}: unknown antibody {key!r}; known: {known}"
    accepted = {column for entry in covariates.covariates for column in entry.columns_with_factor}
    days = {f"{entry.key}_day" for entry in covariates.covariates}
    if name in accepted | days:
        return None
    for entry in covariates.covariates:
        if name == entry.key or name.startswith(f"{entry.key}_"):
            wanted = " or ".join(entry.columns_with_factor)
            return f"column {name!r}: {entry.name} must say its unit; write {wanted}"
    return f"column {name!r} is not known; misspelt? Begin it with {IGNORED_PREFIX!r} to keep it unread"


def _case_id(row: _Row) -> str:
    case_id = row.cell("case_id")
    if not CASE_ID_FORM.match(case_id):
        row.complain("case_id", f"expected 1-64 letters, digits, '.', '_' or '-', found {case_id!r}")
    return case_id


def _votes(row: _Row, columns: Sequence[str], patterns: PatternVocabulary) -> dict[str, Pattern]:
    votes: dict[str, Pattern] = {}
    for column in columns:
        text = row.cell(column)
        pattern = patterns.parse(text)
        if pattern is not None:
            votes[column.removeprefix(READER_PREFIX) if column != "pattern" else SINGLE_READER] = pattern
        elif text:
            known = ", ".join(entry.key for entry in patterns.patterns)
            row.complain(column, f"unknown pattern {text!r}; known: {known}")
    return votes


def _antibodies(row: _Row, vocabulary: AntibodyVocabulary) -> dict[str, AntibodyResult]:
    results: dict[str, AntibodyResult] = {}
    for entry in vocabulary.antibodies:
        if entry.column not in row.cells:
            continue
        _refuse_later(row, f"{entry.column}_day")
        text = row.cell(entry.column).casefold() or AntibodyStatus.NOT_TESTED.value
        try:
            status = AntibodyStatus(text)
        except ValueError:
            row.complain(entry.column, f"expected positive, negative, not_tested or blank, found {text!r}")
            continue
        grade_text = row.cell(f"{entry.column}_grade")
        grade = GRADES.get(grade_text.casefold()) if grade_text else None
        if grade_text and grade is None:
            row.complain(f"{entry.column}_grade", f"expected one of {', '.join(GRADES)}, found {grade_text!r}")
        results[entry.key] = AntibodyResult(status, grade, row.cell(f"{entry.column}_assay") or None)
    return results


def _covariates(row: _Row, units: Mapping[str, tuple[CovariateEntry, float]]) -> dict[str, CovariateValue]:
    values: dict[str, CovariateValue] = {}
    for column, (entry, factor) in units.items():
        if not row.cell(column):
            continue
        _refuse_later(row, f"{entry.key}_day")
        read: Callable[[_Row, str, CovariateEntry, float], CovariateValue | None] = (
            _level if entry.kind is CovariateKind.CATEGORICAL else _measurement
        )
        value = read(row, column, entry, factor)
        if value is None:
            continue
        if entry.key in values:
            row.complain(column, f"{entry.name} is given in two units; keep one")
        values[entry.key] = value
    return values


def _level(row: _Row, column: str, entry: CovariateEntry, _factor: float) -> str | None:
    text = row.cell(column).casefold()
    if text in entry.levels:
        return text
    row.complain(column, f"expected one of {', '.join(entry.levels)}, found {text!r}")
    return None


def _measurement(row: _Row, column: str, entry: CovariateEntry, factor: float) -> float | None:
    value = row.number_in(column)
    if value is None:
        return None
    low, high = entry.plausible_range
    if not low <= value * factor <= high:
        row.complain(
            column, f"{entry.name} of {value:g} is not possible ({low / factor:g} to {high / factor:g}); wrong unit?"
        )
        return None
    return value * factor


def _refuse_later(row: _Row, column: str) -> None:
    day = row.number_in(column)
    if day is not None and day > 0:
        row.complain(column, f"measured {day:g} days after the index CT; only inputs up to the CT may be used")


def _further_outcomes(row: _Row, columns: Mapping[str, tuple[str, frozenset[str]]]) -> dict[str, Outcome]:
    found = {name: _outcome(row, name, *columns[name]) for name in columns if name != DEFAULT_EVENT_COLUMN}
    return {name: outcome for name, outcome in found.items() if outcome is not None}


def _outcome(row: _Row, event_column: str, time_column: str, words: frozenset[str]) -> Outcome | None:
    time_days, event = row.number_in(time_column), row.cell(event_column).casefold()
    if time_days is None and not event:
        return None
    if time_days is None or not event:
        missing = time_column if event else event_column
        row.complain(missing, f"{time_column} and {event_column} belong together; one is missing")
        return None
    if time_days < 0:
        row.complain(time_column, f"follow-up of {time_days:g} days is negative; time zero is the index CT")
    if words and event not in words:
        row.complain(event_column, f"unknown event {event!r}; known: {', '.join(sorted(words))}")
    return Outcome(time_days, event)


def _repeated(case_ids: Sequence[str]) -> list[str]:
    return [
        f"case_id {case_id!r} stands {case_ids.count(case_id)} times; every row is one case with an id of its own"
        for case_id in sorted({case_id for case_id in case_ids if case_ids.count(case_id) > 1})
    ]
