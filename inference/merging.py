"""The parts of one run, made with ``--shard i/n``, brought together. No scan is looked at and nothing is computed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from domain.errors import InputError
from domain.records import CaseResult, CaseStatus
from domain.result_json import CHECKSUM, DamagedResultError, result_from_json
from domain.whole_files import copy_whole
from inference.ledger import (
    CASES,
    DICOM,
    DICOM_PREFIX,
    INPUT,
    PICTURE_PREFIX,
    PRIVATE,
    Ledger,
    may_pass,
    read_order,
)
from inference.output_lock import locked_output
from inference.private_files import join_private
from inference.run_summary import RunSummary

SHOWN_KEYS = 3  # of those missing, in the message


def merge_runs(parts: Sequence[Path], out_dir: Path) -> RunSummary:
    """Bring the results of parts into one folder.

    Args:
        parts: Output folders of ``--shard`` runs of one archive; may be ``out_dir`` itself when all shared it.
        out_dir: Where to; results that are there already are kept when they are the same. One that a machine's bad day
            prevented gives way to one that came later.

    Returns:
        As a run of the whole would have given; write the tables and the report from its ``results()``.

    Raises:
        InputError: The parts are not of one run, a result is missing or damaged, or two differ.
        OutputFolderError: ``out_dir`` is held by a run or cannot be written.
    """
    order = _common_order(parts)
    with locked_output(out_dir):
        ledger = Ledger(out_dir, {})
        ledger.write_order(order)
        for part in parts:
            if part.resolve() != out_dir.resolve():
                _copy_cases(part / CASES, out_dir / CASES)
                _copy_timings(part / PRIVATE, out_dir / PRIVATE)
                _copy_dicom(part, out_dir)
        join_private(parts, out_dir)
        return _checked_results(ledger, order)


def _common_order(parts: Sequence[Path]) -> tuple[str, ...]:
    orders = {part: read_order(part) for part in parts}
    first = next(iter(orders.values()), ())
    for part, order in orders.items():
        if not order:
            raise InputError(f"{part}: holds no run (its private/order.txt is missing)")
        if order != first:
            raise InputError(
                f"{part}: its studies are not those of {next(iter(orders))}. Parts are runs of the same scans, case "
                "table and key secret (--secret with the content of the first part's private/secret.txt)"
            )
    return first


def _copy_cases(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()) if source.is_dir() else ():  # a part may have had no study to run
        if path.name.startswith("."):
            continue  # half-written by a killed run
        there = target / path.name
        if there.exists() and there.read_bytes() != path.read_bytes() and not _replaces(path, there):
            continue
        shutil.copy2(path, there)  # keeps the time: a result must stay younger than its scan


def _replaces(path: Path, there: Path) -> bool:
    """Of two that differ the lasting result counts; of two that may both pass, the later one.

    Raises:
        InputError: Both are there to stay.
    """
    may_pass, may_pass_there = _may_pass(path), _may_pass(there)
    if not (may_pass or may_pass_there):
        raise InputError(f"{path} and {there} differ: two parts ran the same study with other inputs or models")
    if may_pass and may_pass_there:
        return path.stat().st_mtime > there.stat().st_mtime
    return may_pass_there


def _may_pass(path: Path) -> bool:
    """A failure that the next run tries again, or a damaged file."""
    if path.suffix != ".json":
        return False
    try:
        return may_pass(result_from_json(path.read_text(encoding="utf-8")))
    except (DamagedResultError, UnicodeDecodeError):
        return True


def _copy_dicom(part: Path, out_dir: Path) -> None:
    """Those of the results that stand in OUT, not of a result that gave way to another."""
    for path in sorted((part / PRIVATE / DICOM).glob("*.dcm")):
        result = f"{path.stem.rpartition('_')[0]}.json"
        source, there = part / CASES / result, out_dir / CASES / result
        if source.is_file() and there.is_file() and source.read_bytes() == there.read_bytes():
            copy_whole(path, out_dir / PRIVATE / DICOM / path.name)


def _copy_timings(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("seconds*.jsonl"):
        shutil.copy2(path, target / path.name)


def _checked_results(ledger: Ledger, order: Sequence[str]) -> RunSummary:
    missing = [key for key in order if not ledger.path(key).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(order)} studies have no result yet ({', '.join(missing[:SHOWN_KEYS])}, ...): "
            "run the parts they belong to again"
        )
    counts: Counter[CaseStatus] = Counter()
    seconds: Counter[str] = Counter()
    models: dict[str, str] = {}
    try:
        for result in ledger.read(order):
            counts[result.status] += 1
            seconds.update(result.seconds)
            models.setdefault(_model_of(result), result.case_key)
    except DamagedResultError as error:
        raise InputError(f"a result in {ledger.cases_dir} is damaged: {error}; run its part again") from error
    if len(models) > 1:
        raise InputError(f"cases {', '.join(list(models.values())[:2])} were made with different models")
    return RunSummary(ledger.out_dir, tuple(order), counts, len(order), dict(seconds), 0.0, 0)


def _model_of(result: CaseResult) -> str:
    """Digests that all results of one run share."""
    own, files = {INPUT, CHECKSUM, DICOM}, (PICTURE_PREFIX, DICOM_PREFIX)
    shared = {k: v for k, v in result.digests.items() if k not in own and not k.startswith(files)}
    return repr(sorted(shared.items()))
