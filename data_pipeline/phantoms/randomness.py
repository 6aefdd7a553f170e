"""One independent random stream per (seed, patient, purpose): results do not depend on the number of processes."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np

# Decimals kept of small tables computed with transcendental functions: their last bits differ between processors,
# and a patient must have the same bytes everywhere.
STABLE_DECIMALS = 6


class Stream(IntEnum):
    """Purposes. A new purpose gets a new number, so that the older ones keep their draws."""

    CLINICAL = 1
    ANATOMY = 2
    DISEASE = 3
    TEXTURE = 4
    ACQUISITION = 5
    NOISE = 6
    READERS = 7
    LABORATORY = 8
    OUTCOME = 9
    FILES = 10
    DEFECTS = 11
    TREES = 12
    FOLLOW_UP = 13
    PATCHES = 14
    MAPS = 15
    BEADS = 16
    SPACES = 17


def stream(seed: int, patient_index: int, purpose: Stream) -> np.random.Generator:
    """The generator of one purpose of one patient.

    Args:
        seed: Seed of the cohort, >= 0.
        patient_index: 0-based index of the patient; -1 for what belongs to the cohort as a whole.
        purpose: What the numbers are for.

    Returns:
        A counter-based generator (Philox), equal on every platform numpy supports.
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(patient_index + 1, int(purpose)))
    return np.random.Generator(np.random.Philox(sequence))


def stable_uid(*parts: object) -> str:
    """A valid DICOM UID that depends on the parts only.

    Source:
        DICOM PS3.5 B.2: 2.25 followed by a UUID as an integer. The UUID is of version 8 (RFC 9562), from SHA-256.
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()[:16]
    value = int.from_bytes(digest, "big")
    value = (value & ~(0xF << 76)) | (0x8 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"2.25.{value}"
