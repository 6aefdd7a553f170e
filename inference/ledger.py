"""Which studies are done: the result files themselves are the ledger, there is no second book that could disagree."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from domain.findings import RUN_CODES
from domain.records import CaseResult
from domain.result_json import DamagedResultError, result_from_json, result_to_json
from domain.specs import DIGEST_LENGTH
from domain.whole_files import remove_partial_files, write_whole

logger = logging.getLogger(__name__)

INPUT = "input"  # key in ``CaseResult.digests`` for the digest of the source files and the case row
PICTURE_PREFIX = "picture:"  # keys in ``CaseResult.digests`` for the files beside the result
DICOM = "dicom"  # key in the digests of a run that wants DICOM results: one made without them does not count for it
DICOM_KINDS = "sr,seg"  # its value; endings of the names in ``private/dicom``
DICOM_PREFIX = "dicom:"  # keys in ``CaseResult.digests`` for the files there
CASES = "cases"
PRIVATE = "private"
ORDER_FILE = "order.txt"  # case keys of the whole run, one a line, in the order of the tables


class Ledger:
    """Results of one output folder.

    Args:
        out_dir: ``OUT``; results are in ``OUT/cases``, timings in ``OUT/private``.
        digests: Of model and graph: a result counts only for the same ones.
        shard: Name of the part of the run, so that parts on several machines never append to one file.
    """

    def __init__(self, out_dir: Path, digests: Mapping[str, str], *, shard: str = "") -> None:
        self.out_dir = out_dir
        self.cases_dir = out_dir / CASES
        self.digests = dict(digests)
        self._timings_path = out_dir / PRIVATE / f"seconds{f'-{shard}' if shard else ''}.jsonl"

    def path(self, case_key: str) -> Path:
        """Where the result of a case is or will be."""
        return self.cases_dir / f"{case_key}.json"

    def clean(self) -> None:
        """Remove half-written files of a killed run. Only the holder of the output lock may do this."""
        removed = sum(remove_partial_files(folder) for folder in (self.cases_dir, self.out_dir) if folder.is_dir())
        if removed:
            logger.info("removed %d half-written file(s) of an earlier run", removed)

    def write_order(self, case_keys: Iterable[str]) -> None:
        """Note every study of the run, this part's or not, so that parts can be merged without looking at the scans."""
        write_whole(self.out_dir / PRIVATE / ORDER_FILE, "".join(f"{key}\n" for key in case_keys))

    def find_done(self, case_key: str, input_digest: str, newest_change: float) -> CaseResult | None:
        """The result of a study that needs no second run, else None.

        It must be whole, carry the same input, model and graph digests, be younger than its source files, have its
        pictures beside it unchanged (and its DICOM results, where they are wanted), and not have ended for a reason
        that may pass.
        """
        try:
            written = self.path(case_key).stat().st_mtime
        except OSError:
            return None
        result = self.find_standing(case_key)
        if result is None or result.digests.get(INPUT) != input_digest:
            return None
        return result if newest_change <= written and not may_pass(result) else None

    def find_standing(self, case_key: str) -> CaseResult | None:
        """The earlier result of a study, made with the same model and graph from whatever input, else None."""
        try:
            result = result_from_json(self.path(case_key).read_text(encoding="utf-8"))
            same = result.case_key == case_key and self.digests.items() <= result.digests.items()
            return result if same and self._has_its_files(result) else None
        except FileNotFoundError:
            return None
        except (DamagedResultError, UnicodeDecodeError, OSError) as problem:  # a disk may give a file and fail over it
            logger.warning("case %s: %s; it is run again", case_key, problem)
            return None

    def record(self, result: CaseResult, input_digest: str) -> CaseResult:
        """Write a result and append its timings; gives the result as written, digests included.

        Raises:
            OSError: The folder cannot be written.
            DamagedResultError: The result holds a value that JSON cannot carry back (NaN in a plain number).
        """
        digests = {**result.digests, **self.digests, INPUT: input_digest}
        digests |= {f"{PICTURE_PREFIX}{name}": _file_digest(self.cases_dir / name) for name in sorted(result.pictures)}
        digests |= self._settle_dicom(result)
        text = result_to_json(result.model_copy(update={"digests": digests}))
        whole = result_from_json(text)
        write_whole(self.path(result.case_key), text)
        self._append_timings(result)
        return whole.model_copy(update={"seconds": result.seconds})

    def read(self, case_keys: Iterable[str]) -> Iterator[CaseResult]:
        """Results in the order asked for, timings included where known; one is in memory at a time."""
        timings = read_timings(self.out_dir)
        for key in case_keys:
            result = result_from_json(self.path(key).read_text(encoding="utf-8"))
            yield result.model_copy(update={"seconds": timings.get(key, {})})

    def _has_its_files(self, result: CaseResult) -> bool:
        files = [(self.cases_dir / name, f"{PICTURE_PREFIX}{name}") for name in result.pictures]
        if DICOM in self.digests:
            files += [(path, f"{DICOM_PREFIX}{path.name}") for path in dicom_files(self.out_dir, result)]
        return all(path.is_file() and _file_digest(path) == result.digests.get(key) for path, key in files)

    def _settle_dicom(self, result: CaseResult) -> dict[str, str]:
        """Digests of the DICOM results that the worker names; others of this case are of an earlier result, and go."""
        made = dicom_files(self.out_dir, result)
        for kind in DICOM_KINDS.split(","):
            path = self.out_dir / PRIVATE / DICOM / f"{result.case_key}_{kind}.dcm"
            if path not in made:
                path.unlink(missing_ok=True)
        return {f"{DICOM_PREFIX}{path.name}": _file_digest(path) for path in made if path.is_file()}

    def _append_timings(self, result: CaseResult) -> None:
        rounded = {stage: round(seconds, 4) for stage, seconds in result.seconds.items()}
        self._timings_path.parent.mkdir(parents=True, exist_ok=True)
        with self._timings_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"case_key": result.case_key, "seconds": rounded}) + "\n")


def may_pass(result: CaseResult) -> bool:
    """It failed for a reason that lies in the machine's day."""
    return result.failure_code in RUN_CODES


def dicom_digests(names: Iterable[str]) -> dict[str, str]:
    """How a worker says in its result's digests which DICOM results it made; the ledger fills in what they hold."""
    return {f"{DICOM_PREFIX}{name}": "" for name in names}


def dicom_files(out_dir: Path, result: CaseResult) -> list[Path]:
    """The DICOM results that belong to a result; one that could not be written is not there."""
    names = sorted(key.removeprefix(DICOM_PREFIX) for key in result.digests if key.startswith(DICOM_PREFIX))
    return [out_dir / PRIVATE / DICOM / name for name in names]


def read_order(out_dir: Path) -> tuple[str, ...]:
    """Case keys of the whole run in order; empty where no run was begun."""
    try:
        return tuple((out_dir / PRIVATE / ORDER_FILE).read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ()


def read_timings(out_dir: Path) -> dict[str, dict[str, float]]:
    """Seconds per stage of each case: the last run of it counts, a line cut short is skipped."""
    timings: dict[str, dict[str, float]] = {}
    for path in sorted((out_dir / PRIVATE).glob("seconds*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                timings[str(entry["case_key"])] = {str(k): float(v) for k, v in entry["seconds"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the last line of a killed run; timings are never needed to go on
    return timings


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGEST_LENGTH]
