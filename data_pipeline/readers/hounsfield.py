"""Stored values of one slice to HU, in place where the types allow. Knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.volume import AIR_HU

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True)
class StoredValues:
    """How stored values turn into HU: ``slope * value + intercept`` of the low ``bits_stored`` bits."""

    bits_stored: int
    is_signed: bool
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """What conversion saw, before anything was clipped.

    Attributes:
        lowest_hu: Lowest value, -inf excluded.
        num_below_air: Pixels below ``AIR_HU``, which were set to it.
    """

    lowest_hu: float
    num_below_air: int


def to_hounsfield(raw: NDArray[Any], out: NDArray[np.int16], rule: StoredValues) -> SliceFacts:
    """Convert one slice and clip it to ``AIR_HU`` .. 32767.

    Args:
        raw: Stored values, an integer type. Shape (J, I). May share its memory with ``out``.
        out: HU. Shape (J, I).
        rule: Bits, sign and rescale of the header.

    Returns:
        Lowest value and the number of values below air.
    """
    values, low, high = clean_bits(raw, rule)
    intercept = int(rule.intercept)
    is_whole = rule.slope == 1.0 and rule.intercept == intercept
    fits = INT16.min <= low and high <= INT16.max and INT16.min <= low + intercept and high + intercept <= INT16.max
    if is_whole and fits and values.dtype.itemsize == 2 and INT16.min <= intercept <= INT16.max:
        np.add(values.view(np.int16), np.int16(intercept), out=out)
        lowest = float(low + intercept)
        num_below = int(np.count_nonzero(out < AIR_HU)) if lowest < AIR_HU else 0
        if num_below:
            np.maximum(out, np.int16(AIR_HU), out=out)
        return SliceFacts(lowest, num_below)
    scaled = np.rint(values.astype(np.float64) * rule.slope + rule.intercept)
    num_below = int(np.count_nonzero(scaled < AIR_HU))
    out[...] = np.clip(scaled, AIR_HU, INT16.max).astype(np.int16)
    return SliceFacts(float(scaled.min()), num_below)


def clean_bits(raw: NDArray[Any], rule: StoredValues) -> tuple[NDArray[Any], int, int]:
    """Values of the low ``bits_stored`` bits, lowest, highest: overlays may stand above, some leave out the sign."""
    size = raw.dtype.itemsize
    values = raw.view(np.dtype(f"i{size}" if rule.is_signed else f"u{size}"))
    low, high = int(values.min()), int(values.max())
    spare = 8 * size - rule.bits_stored
    limit = 1 << (rule.bits_stored - rule.is_signed)
    if spare <= 0 or (high < limit and low >= (-limit if rule.is_signed else 0)):
        return values, low, high
    values = (values << spare) >> spare if rule.is_signed else values & (limit - 1)
    return values, int(values.min()), int(values.max())
