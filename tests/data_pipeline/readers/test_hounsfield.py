"""Stored values to HU against the formula, for every bit depth and sign."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_pipeline.readers.hounsfield import StoredValues, to_hounsfield


@given(
    arrays.arrays(np.uint16, (5, 6), elements=st.integers(0, 65535)),
    st.integers(2, 16),
    st.booleans(),
    st.sampled_from([1.0, 1.0, 0.5, 2.0, 1.25]),
    st.sampled_from([-1024.0, 0.0, -1000.5, -32768.0, 40000.0]),
)
@settings(max_examples=200, deadline=None)
def test_conversion_is_slope_times_value_plus_intercept(
    raw: np.ndarray, bits: int, is_signed: bool, slope: float, intercept: float
) -> None:
    values = raw.astype(np.int64) & ((1 << bits) - 1)
    if is_signed:
        plain = raw.view(np.int16).astype(np.int64)
        limit = 1 << (bits - 1)
        fits = (plain >= -limit).all() and (plain < limit).all()
        values = plain if fits else np.where(values >= limit, values - 2 * limit, values)
    expected = np.rint(values * slope + intercept)
    out = np.empty(raw.shape, dtype=np.int16)
    facts = to_hounsfield(raw.copy(), out, StoredValues(bits, is_signed, slope, intercept))
    assert np.array_equal(out, np.clip(expected, -1024, 32767))
    assert facts.num_below_air == (expected < -1024).sum()
    assert facts.lowest_hu == expected.min()


def test_conversion_works_in_place() -> None:
    out = np.array([[0, 1024, 3000]], dtype=np.int16)
    to_hounsfield(out, out, StoredValues(12, is_signed=False, slope=1.0, intercept=-1024.0))
    assert out.tolist() == [[-1024, 0, 1976]]


@pytest.mark.parametrize("value", [0xF400, 0x0400])
def test_overlay_bits_above_the_stored_ones_are_dropped(value: int) -> None:
    out = np.empty((1, 1), dtype=np.int16)
    raw = np.array([[value]], dtype=np.uint16)
    to_hounsfield(raw, out, StoredValues(12, is_signed=False, slope=1.0, intercept=-1024.0))
    assert out[0, 0] == 0
