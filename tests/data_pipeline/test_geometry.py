"""Slice order, gaps, tilt and affine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.geometry import (
    GeometryError,
    build_stack,
    judge_spacing,
    repeated_places,
    slice_normal,
    stack_affine,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def axial(heights: list[float]) -> list[tuple[float, float, float]]:
    return [(0.0, 0.0, height) for height in heights]


def test_slices_are_ordered_along_the_normal() -> None:
    stack = build_stack(axial([0.0, 2.5, 1.0]), AXIAL)
    assert stack.order == (0, 2, 1)
    assert np.allclose(stack.gaps_mm, [1.0, 1.5])


def test_a_head_down_orientation_reverses_the_order() -> None:
    stack = build_stack(axial([0.0, 1.0, 2.0]), (1, 0, 0, 0, -1, 0))
    assert stack.order == (2, 1, 0)


@given(
    st.integers(3, 40),
    st.floats(0.3, 12.0),
    st.floats(-500, 500),
    st.floats(-0.5, 0.5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_even_stacks_are_even_whatever_their_pose(
    count: int, gap: float, start: float, angle: float, random: object
) -> None:
    row = np.array([np.cos(angle), np.sin(angle), 0.0])
    column = np.array([-np.sin(angle) * np.cos(angle), np.cos(angle) ** 2, np.sin(angle)])
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    places = list(range(count))
    random.shuffle(places)  # type: ignore[attr-defined]
    stack = build_stack([tuple(start * row + place * gap * normal) for place in places], (*row, *column))
    assert [places[index] for index in stack.order] == list(range(count))
    assert judge_spacing(stack, 0.1).is_even
    assert stack.gap_mm == pytest.approx(gap, abs=1e-6)
    assert stack.tilt_degrees == pytest.approx(0.0, abs=1e-3)
    affine = stack_affine(stack, (*row, *column), (0.7, 0.9))
    assert np.allclose(affine.spacing_mm, (0.9, 0.7, gap), atol=1e-5)


def test_positions_rounded_to_a_tenth_are_even() -> None:
    stack = build_stack(axial([round(0.625 * index, 1) for index in range(100)]), AXIAL)
    assert judge_spacing(stack, 0.1).is_even


def test_missing_slices_are_counted_and_placed() -> None:
    heights = [3.0 * index for index in range(12) if index not in (5, 6, 9)]
    verdict = judge_spacing(build_stack(axial(heights), AXIAL), 0.1)
    assert (verdict.is_even, verdict.num_missing) == (False, 3)
    assert verdict.missing_at_mm == (16.5, 27.0)


def test_one_missing_slice_among_hundreds_is_noticed() -> None:
    heights = [1.0 * index for index in range(400) if index != 200]
    assert judge_spacing(build_stack(axial(heights), AXIAL), 0.1).num_missing == 1


def test_uneven_gaps_are_not_called_missing() -> None:
    verdict = judge_spacing(build_stack(axial([0, 1, 2, 3.4, 4.4, 5.9, 6.9, 7.9]), AXIAL), 0.1)
    assert (verdict.is_even, verdict.num_missing) == (False, 0)


def test_repeated_positions_are_grouped() -> None:
    stack = build_stack(axial([0, 1, 1.001, 2, 3, 3, 3]), AXIAL)
    assert [sorted(group) for group in repeated_places(stack)] == [[1, 2], [4, 5, 6]]


def test_tilt_is_the_angle_between_step_and_normal() -> None:
    tilt = np.radians(16.5)
    stack = build_stack([(0, 0, 2.5 * index) for index in range(4)], (1, 0, 0, 0, np.cos(tilt), np.sin(tilt)))
    assert stack.tilt_degrees == pytest.approx(16.5)
    assert stack.gap_mm == pytest.approx(2.5 * np.cos(tilt))


def test_the_affine_turns_lps_into_ras() -> None:
    stack = build_stack([(-100.0, -120.0, 30.0), (-100.0, -120.0, 32.0)], AXIAL)
    matrix = stack_affine(stack, AXIAL, (0.8, 0.6)).matrix
    assert np.allclose(matrix, [[-0.6, 0, 0, 100], [0, -0.8, 0, 120], [0, 0, 2, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("orientation", [(0.0,) * 6, (1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0)])
def test_impossible_orientations_are_refused(orientation: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError):
        slice_normal(orientation)
