"""Spoilt DICOM and NIfTI files by the ten thousand: every one must be read or refused in time and within memory.

python benchmarks/fuzz_ingestion.py --count 20000 --out docs/benchmarks/fuzzing.md

A spoilt input that takes a branch not taken before, or gives an outcome not met before, joins the corpus and is spoilt
further, so that the search follows the code. The work runs in a child process with a memory limit and an alarm; its
death is a failure. ``--guide outcomes`` leaves the branches out, for comparison.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from data_pipeline.discovery import survey
from data_pipeline.quality import QualityPolicy, load_policy
from data_pipeline.volume_reading import read_volume
from domain.errors import MyoLungError
from domain.whole_files import write_whole

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fuzz_coverage import BranchCoverage
from fuzz_mutations import mutate

INPUT_LIMIT_S = 20  # wall clock, on a machine that may be busy
MEMORY_LIMIT_BYTES = 3 << 30  # address space of the process that parses; decoders have their own limit
VOLUME_LIMIT_GIB = 0.25
MAX_SEED_BYTES = 400_000
MAX_CORPUS = 400
NIFTI_SHARE = 0.25
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
SYNTAXES = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5")


class InputTimeoutError(Exception):
    """One input took longer than its limit."""


def synthetic_seeds(folder: Path) -> list[tuple[str, bytes]]:
    """A small slice in five transfer syntaxes and the volume as NIfTI."""
    import imagecodecs
    import numpy as np
    import pydicom
    from pydicom.encaps import encapsulate

    from data_pipeline.nifti_writer import nifti_bytes
    from data_pipeline.phantoms.dicom_writer import SeriesGeometry, SeriesTags, write_series
    from domain.affine import Affine
    from domain.volume import Volume

    rng = np.random.default_rng(0)
    hu = rng.normal(-400, 300, (3, 48, 56)).astype(np.int16)
    tags = SeriesTags("FUZZ", "F", 50.0, ("fuzz",), bits_stored=12, is_signed=False, intercept=-1024)
    paths = write_series(
        hu, SeriesGeometry((0.0, 0.0, 0.0), (2.0, 1.0, 1.0), 2.0), tags, folder, np.random.default_rng(1)
    )
    seeds = [(".dcm", paths[0].read_bytes())]
    encoders = (
        lambda x: imagecodecs.ljpeg_encode(x, bitspersample=12),
        imagecodecs.jpegls_encode,
        lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", reversible=True),
        None,
    )
    for syntax, encode in zip(SYNTAXES, encoders, strict=True):
        dataset = pydicom.dcmread(paths[0])
        if encode is None:
            dataset.compress(syntax)
        else:
            dataset.PixelData = encapsulate([encode(dataset.pixel_array)])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(folder / "compressed.dcm")
        seeds.append((".dcm", (folder / "compressed.dcm").read_bytes()))
    packed = nifti_bytes(Volume(hu.transpose(2, 1, 0), Affine.from_spacing((1.0, 1.0, 2.0))))
    import gzip

    return [*seeds, (".nii.gz", packed), (".nii", gzip.decompress(packed))]


def real_seeds() -> list[tuple[str, bytes]]:
    """Small real files, where they are."""
    seeds = []
    for path in sorted(REAL.rglob("*")) if REAL.is_dir() else []:
        if path.is_file() and 200 < path.stat().st_size < MAX_SEED_BYTES and path.suffix not in {".csv", ".md", ".mha"}:
            suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".dcm"
            seeds.append((suffix, path.read_bytes()))
    return seeds[:: max(1, len(seeds) // 80)]


def outcome_of(path: Path, policy: QualityPolicy) -> str:
    """In a word, what became of an input. Anything that is not ours to raise comes out as a traceback."""
    try:
        found = survey(path, policy=policy)
        if not found.series:
            return f"file: {found.files[0].code if found.files else 'nothing'}"
        read_volume(path, policy=policy, even_if_rejected=True, num_workers=1)
        return "read: " + " ".join(sorted({code.value for item in found.series for code in item.codes}))
    except MyoLungError as error:
        return f"refused: {getattr(error, 'code', type(error).__name__)}"
    except InputTimeoutError:
        return "FAILURE timeout"
    except MemoryError:
        return "FAILURE memory"
    except Exception:  # noqa: BLE001 - that is what is looked for
        return "FAILURE " + traceback.format_exc()


def on_alarm(*_: object) -> None:
    raise InputTimeoutError


def work(seed: int, count: int, folder: Path, *, use_real: bool, guide: str) -> None:
    """Child: spoil and read ``count`` inputs; one JSON line per outcome."""
    import resource

    policy_values = load_policy().model_dump(mode="json")
    policy_values["thresholds"]["max_volume_gib"] = VOLUME_LIMIT_GIB
    policy = QualityPolicy.model_validate_json(json.dumps(policy_values))
    corpus = synthetic_seeds(folder / "seeds") + (real_seeds() if use_real else [])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    signal.signal(signal.SIGALRM, on_alarm)
    rng, met, coverage = random.Random(seed), set(), BranchCoverage()
    for number in range(count):
        kind = ".nii" if rng.random() < NIFTI_SHARE else ".dcm"
        suffix, data = rng.choice([item for item in corpus if item[0].startswith(kind)])
        spoilt = mutate(data, rng, [other for _, other in rng.sample(corpus, min(4, len(corpus)))])
        path = folder / f"input{suffix}"
        path.write_bytes(spoilt)
        signal.alarm(INPUT_LIMIT_S)
        start = time.perf_counter()
        with coverage.following() as is_new:
            outcome = outcome_of(path, policy)
        signal.alarm(0)
        is_telling = outcome not in met or (guide == "branches" and is_new())
        if is_telling and len(corpus) < MAX_CORPUS and spoilt and len(spoilt) < MAX_SEED_BYTES:
            met.add(outcome)
            corpus.append((suffix, spoilt))
        if outcome.startswith("FAILURE"):
            path.rename(folder / f"failure-{seed}-{number}{suffix}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        facts = [number, suffix, outcome, round(time.perf_counter() - start, 3), peak, len(coverage.met), len(corpus)]
        print(json.dumps(facts), flush=True)


def run(count: int, seed: int, folder: Path, *, use_real: bool, guide: str) -> dict[str, object]:
    """Parent: run children until ``count`` inputs are through; a child's death is a failure of its last input."""
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    failures: list[str] = []
    slowest = peak = 0.0
    branches = corpus = 0
    done = 0
    while done < count:
        command = [
            sys.executable,
            __file__,
            "--work",
            str(folder),
            "--count",
            str(count - done),
            "--seed",
            str(seed + done),
            "--guide",
            guide,
        ]
        child = subprocess.run(
            [*command, *([] if use_real else ["--synthetic"])], capture_output=True, text=True, check=False
        )
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("[")]
        for _, suffix, outcome, seconds, memory, num_branches, num_seeds in lines:
            branches, corpus = max(branches, num_branches), max(corpus, num_seeds)
            kinds[suffix] += 1
            outcomes[" ".join(outcome.split()[:2])] += 1
            slowest, peak = max(slowest, seconds), max(peak, memory)
            if outcome.startswith("FAILURE"):
                failures.append(outcome)
        done += len(lines)
        if child.returncode != 0:
            failures.append(
                f"child died with status {child.returncode} after {len(lines)} inputs: {child.stderr[-800:]}"
            )
            done += 1
    return {
        "inputs": done,
        "kinds": dict(kinds),
        "outcomes": dict(outcomes.most_common()),
        "slowest_s": slowest,
        "peak_mib": peak,
        "branches": branches,
        "corpus": corpus,
        "failures": failures,
    }


def report(result: dict[str, object], seconds: float, seed: int, guide: str) -> str:
    """The result as a page."""
    outcomes: dict[str, int] = result["outcomes"]  # type: ignore[assignment]
    failures: list[str] = result["failures"]  # type: ignore[assignment]
    kinds = ", ".join(f"{number} {kind}" for kind, number in result["kinds"].items())  # type: ignore[attr-defined]
    lines = [
        "# Fuzzing of ingestion",
        "",
        f"Command: `python benchmarks/fuzz_ingestion.py --count {result['inputs']} --seed {seed}`.",
        "",
        f"{result['inputs']} spoilt inputs ({kinds}) in {seconds:.0f} s; ",  # type: ignore[attr-defined]
        f"slowest input {result['slowest_s']} s (limit {INPUT_LIMIT_S} s), peak memory of the parsing process "
        f"{result['peak_mib']} MiB (limit {MEMORY_LIMIT_BYTES >> 20} MiB address space).",
        "",
        f"**Crashes, hangs, tracebacks, memory past the limit: {len(failures)}.**",
        "",
        "Mutations: bits, bytes, lengths, tags, matrix and frame numbers, nesting, truncation, growth, moved, deleted",
        f"blocks, splices. Guided by {guide}: an input that shows something new joins the corpus. {result['branches']}",
        f"branches of the Python code were taken, the corpus grew to {result['corpus']} inputs.",
        '"read" is with `even_if_rejected`: the first code of the series found is shown.',
        "",
        "| outcome | inputs |",
        "|---|---|",
        *[f"| {name} | {number} |" for name, number in outcomes.items()],
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--synthetic", action="store_true", help="start from made-up files only")
    parser.add_argument("--guide", choices=("branches", "outcomes"), default="branches")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="folder that keeps inputs that failed")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.seed, arguments.count, arguments.work, use_real=not arguments.synthetic, guide=arguments.guide)
        return 0
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        (folder / "seeds").mkdir(parents=True, exist_ok=True)
        result = run(arguments.count, arguments.seed, folder, use_real=not arguments.synthetic, guide=arguments.guide)
    text = report(result, time.perf_counter() - start, arguments.seed, arguments.guide)
    print(text)
    for failure in result["failures"]:  # type: ignore[attr-defined]
        print(failure)
    if arguments.out:
        write_whole(arguments.out, text)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
