"""An archive with planted defects through the command itself: every study once, every code right, exit 1.

    python benchmarks/batch_defects.py --studies 1000 --out docs/benchmarks/batch_defects.md       (4 to 8 minutes)

Studies are synthetic and tiny: a few phantoms copied as studies of their own. Every tenth has a defect, each kind that
the phantoms know in turn. Without --model lungs and quantitative CT alone are run. Exit 0 when all is as it must be.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from study_archive import distinct_copies, table

from data_pipeline.phantoms import generate_cohort
from data_pipeline.phantoms.defects import ADDS_BESIDE, DEFECTS, plant_defect
from domain.findings import QualityCode, Severity
from domain.strict_yaml import load_yaml
from domain.whole_files import write_whole

ROOT = Path(__file__).resolve().parents[1]
NUM_DIFFERENT = 40  # phantoms made; each is copied into the archive several times

# What must become of a study with a defect, beside what the policy file says of the code.
REFUSED_THOUGH_MILD = {  # the planted form is the severe one of a code that comes in two
    QualityCode.REPEATED_POSITIONS, QualityCode.MIXED_ORIENTATION, QualityCode.MIXED_MATRIX,
    QualityCode.INCONSISTENT_SLICES,
}  # fmt: skip
REFUSED_AS = {
    QualityCode.NOT_A_CT_VOLUME: QualityCode.NOT_HU,  # an unsigned mask is refused from its header
    QualityCode.MIXED_ORIENTATION: QualityCode.MISSING_SLICES,  # the stack that is left has holes; the code stands
    QualityCode.MIXED_MATRIX: QualityCode.MISSING_SLICES,  # beside, in series.csv
    QualityCode.MASK_FAILED: QualityCode.NOT_CHEST,  # a chest without lungs is noticed before lungs are looked for
}


@dataclass(frozen=True)
class Outcome:
    """What the run said of one folder of the archive."""

    rows: tuple[tuple[str, str], ...]  # (table, code or codes) of each of its studies
    beside: frozenset[str]  # codes of its files and series


def must_be(code: QualityCode, severity: dict[str, str]) -> str:
    """``refused`` or ``used``."""
    if code in ADDS_BESIDE:
        return "used"
    is_refused = severity[code.value] == Severity.REJECT.value or code in REFUSED_THOUGH_MILD
    return "refused" if is_refused else "used"


def is_right(code: QualityCode, wanted: str, found: Outcome) -> bool:
    """The study is where it must be, and the code is said."""
    if wanted == "refused":
        refused = {told for where, told in found.rows if where == "failures"}
        stands_beside = code not in REFUSED_THOUGH_MILD or code.value in found.beside
        return code.value in refused or (REFUSED_AS.get(code, code).value in refused and stands_beside)
    used = [codes for where, codes in found.rows if where == "predictions"]
    said = {part for codes in used for part in codes.split(";")} | found.beside
    return len(used) == 1 and code.value in said


def outcomes(out: Path, archive: Path) -> tuple[dict[str, Outcome], dict[str, int]]:
    """By folder of the archive, and how often each case key stands in the two tables."""
    good, bad = read_rows(out / "predictions.csv"), read_rows(out / "failures.csv")
    tables = {row["case_key"]: ("predictions", row["quality_codes"]) for row in good}
    tables |= {row["case_key"]: ("failures", row["code"]) for row in bad}
    rows: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    beside: defaultdict[str, set[str]] = defaultdict(set)
    for row in read_rows(out / "private" / "keys.csv"):
        rows[folder_of(row["path"], archive)].append(tables.get(row["case_key"], ("nowhere", "")))
    for row in read_rows(out / "private" / "files.csv"):
        beside[folder_of(row["path"], archive)].add(row["code"])
    for row in read_rows(out / "private" / "series.csv"):
        beside[folder_of(row["path"], archive)].update(row["codes"].split(";"))
    counts = Counter(row["case_key"] for row in (*good, *bad))
    wanted = {row["case_key"] for row in read_rows(out / "private" / "keys.csv")}
    missing = dict.fromkeys(wanted - counts.keys(), 0)
    return {name: Outcome(tuple(rows[name]), frozenset(beside[name])) for name in rows}, dict(counts) | missing


def folder_of(path: str, archive: Path) -> str:
    """First folder below the archive."""
    return Path(path).relative_to(archive).parts[0]


def read_rows(path: Path) -> list[dict[str, str]]:
    """A table."""
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def measure(args: argparse.Namespace, place: Path) -> tuple[str, bool]:
    """The page, and whether all is right."""
    originals, archive, out = place / "phantoms", place / "archive", place / "out"
    generate_cohort(originals, num_patients=min(NUM_DIFFERENT, args.studies), seed=11, size="tiny")
    folders = distinct_copies(originals, archive, args.studies)
    planted = {
        folder.name: list(DEFECTS)[i % len(DEFECTS)] for i, folder in enumerate(folders[args.every - 1 :: args.every])
    }
    for name, code in planted.items():
        plant_defect(archive / name, code.value, np.random.default_rng(int(name)))
    what = ["--model", str(args.model)] if args.model else ["--quantify-only"]
    command = [sys.executable, str(ROOT / "infer.py"), str(archive), *what, "--out", str(out)]
    start = time.perf_counter()
    answer = subprocess.run([*command, "--formats", "csv", "--workers", str(args.workers)], cwd=ROOT, check=False)
    seconds = time.perf_counter() - start
    found, counts = outcomes(out, archive)
    severity = load_yaml(ROOT / "configs/quality/policy.yaml")["severity"]
    wanted = {name: must_be(code, severity) for name, code in planted.items()}
    wrong = [
        f"{code.value}: {wanted[name]} expected, found {found.get(name)}"
        for name, code in planted.items()
        if name not in found or not is_right(code, wanted[name], found[name])
    ]
    clean = [name for name in (folder.name for folder in folders) if name not in planted]
    nothing = Outcome((), frozenset())
    lost = [name for name in clean if [where for where, _ in found.get(name, nothing).rows] != ["predictions"]]
    astray = sum(count != 1 for count in counts.values())
    kinds = Counter(code.value for code in planted.values())
    rows = [
        ("studies in the archive", str(args.studies)),
        ("of them with a planted defect", f"{len(planted)}, of {len(kinds)} kinds"),
        ("of these to be refused, and refused with the right code", _tally(wanted, planted, found, "refused")),
        ("of these to be used, and used with the code said", _tally(wanted, planted, found, "used")),
        ("studies without a defect that are in predictions.csv", f"{len(clean) - len(lost)} of {len(clean)}"),
        ("studies found (some defects add one beside)", str(len(counts))),
        ("of them not exactly once in predictions.csv or failures.csv", str(astray)),
        ("exit code (1: some were refused)", str(answer.returncode)),
        ("seconds", f"{seconds:.0f}"),
    ]
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    text = table(("measure", "value"), rows)
    return text, not wrong and not lost and not astray and answer.returncode == 1


def _tally(wanted: dict[str, str], planted: dict[str, QualityCode], found: dict[str, Outcome], kind: str) -> str:
    names = [name for name, what in wanted.items() if what == kind]
    right = sum(name in found and is_right(planted[name], kind, found[name]) for name in names)
    return f"{len(names)}, {right}"


def main() -> int:
    """Run, write the page, say by the exit code whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--every", type=int, default=10, help="one study in so many has a defect")
    parser.add_argument("--model", type=Path, help="also pattern and prognosis; without it lungs and quantities")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text, all_right = measure(args, Path(name))
    command = shlex.join(["python", "benchmarks/batch_defects.py", *sys.argv[1:]])
    page = f"`{command}`\n\n{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n\n{text}"
    print(page)
    if args.out:
        write_whole(args.out, page)
    return 0 if all_right else 1


if __name__ == "__main__":
    sys.exit(main())
