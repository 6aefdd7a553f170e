"""One number for a small cohort: equal on every machine that makes the same bytes.

python -m data_pipeline.phantoms.cohort_digest
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from data_pipeline.phantoms.cohort import generate_cohort

NUM_PATIENTS, SEED = 2, 6


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder, in order of name.

    Masks count by their unpacked content: zlib versions pack the same bytes differently.
    """
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\x1f".encode())
        content = path.read_bytes()
        total.update(hashlib.sha256(gzip.decompress(content) if path.suffix == ".gz" else content).digest())
    return total.hexdigest()


def small_cohort_digest() -> str:
    """Digest of two tiny patients with second scans and noisy readers."""
    with TemporaryDirectory() as folder:
        root = generate_cohort(
            Path(folder) / "cohort", num_patients=NUM_PATIENTS, seed=SEED, num_readers=2, follow_up_share=1.0, workers=1
        )
        return folder_digest(root)


if __name__ == "__main__":
    sys.stdout.write(small_cohort_digest() + "\n")
