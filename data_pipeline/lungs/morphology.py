"""Binary morphology on bits: 64 voxels in one word, so that a dilation of a whole chest costs some microseconds.

Connected parts are not here: ``scipy.ndimage.label`` finds them. Results equal those of ``scipy.ndimage`` (tested).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Words = NDArray[np.uint64]
Shape = Literal["cross", "box", "plane"]  # 6 neighbours; 26 neighbours; 8 neighbours in the axial plane

ONE, LAST = np.uint64(1), np.uint64(63)
BITS_PER_WORD = 64


def dilated(mask: BoolArray, steps: int = 1, *, shape: Shape = "cross", within: BoolArray | None = None) -> BoolArray:
    """Grow a mask; what lies outside the volume is empty.

    Args:
        mask: Shape (I, J, K).
        steps: Voxels to grow by.
        shape: Neighbours that are reached in one step.
        within: Where growth may go; the mask itself always stays.

    Returns:
        Same shape.
    """
    words, allowed = _packed(mask), _valid(mask) if within is None else _packed(within) | _packed(mask)
    for _ in range(steps):
        words = GROW[shape](words) & allowed
    return _unpacked(words, mask.shape[2])


def propagated(seed: BoolArray, within: BoolArray) -> BoolArray:
    """All of ``within`` that is connected, over faces, to a part of ``seed`` inside it."""
    allowed = _packed(within)
    words = _packed(seed) & allowed
    while True:
        grown = _grow_cross(words) & allowed
        grown = _grow_cross(grown) & allowed
        if np.array_equal(grown, words):
            return _unpacked(words, seed.shape[2])
        words = grown


def eroded(mask: BoolArray, steps: int = 1, *, shape: Shape = "cross", outside: bool = False) -> BoolArray:
    """Shrink a mask.

    Args:
        mask: Shape (I, J, K).
        steps: Voxels to shrink by.
        shape: Neighbours that count in one step.
        outside: What lies beyond the volume; False shrinks at its faces too.
    """
    valid = _valid(mask)
    words = ~_packed(mask) & valid
    for _ in range(steps):
        words = GROW[shape](words) & valid
    result = _unpacked(~words & valid, mask.shape[2])
    if not outside:
        for axis in range(2 if shape == "plane" else 3):
            faces = np.moveaxis(result, axis, 0)
            faces[:steps] = faces[max(0, len(faces) - steps) :] = False
    return result


def opened(mask: BoolArray, steps: int = 1, *, shape: Shape = "cross", outside: bool = False) -> BoolArray:
    """Erosion, then dilation: what is thinner than ``2 * steps + 1`` voxels goes."""
    return dilated(eroded(mask, steps, shape=shape, outside=outside), steps, shape=shape)


def closed(mask: BoolArray, steps: int = 1, *, shape: Shape = "cross") -> BoolArray:
    """Dilation, then erosion, as if empty space surrounded the volume: gaps thinner than ``2 * steps + 1`` close."""
    padded = np.pad(mask, steps)
    inner = (slice(steps, -steps),) * 3
    return eroded(dilated(padded, steps, shape=shape), steps, shape=shape)[inner]


def opened_square(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """Opening by a rectangle of ``size`` voxels in the axial plane; what lies outside the volume is full."""
    words = _packed(mask)
    for axis, length in enumerate(size):
        whole = words.copy()
        for step in range(1, min(length, words.shape[axis])):
            _at(whole, axis, slice(None, -step))[...] &= _at(words, axis, slice(step, None))
        words = whole
    for axis, length in enumerate(size):
        grown = words.copy()
        for step in range(1, min(length, words.shape[axis])):
            _at(grown, axis, slice(step, None))[...] |= _at(words, axis, slice(None, -step))
        words = grown
    return _unpacked(words, mask.shape[2])


def _at(words: Words, axis: int, where: slice) -> Words:
    """Part of the words along one axis, a view."""
    return words[(slice(None),) * axis + (where,)]


def _packed(mask: BoolArray) -> Words:
    """Bits along the last axis, lowest first. Shape (I, J, W), uint64."""
    rows, columns, size = mask.shape
    words = -(-size // BITS_PER_WORD)
    whole = np.zeros((rows, columns, words * BITS_PER_WORD), dtype=np.bool_)  # one flat run of bits packs fastest
    whole[:, :, :size] = mask
    bits = np.packbits(whole, bitorder="little")
    return bits.view("<u8").astype(np.uint64, copy=False).reshape(rows, columns, words)


def _unpacked(words: Words, size: int) -> BoolArray:
    bits = np.unpackbits(words.astype("<u8", copy=False).reshape(-1).view(np.uint8), bitorder="little")
    whole = bits.view(np.bool_).reshape(*words.shape[:2], words.shape[2] * BITS_PER_WORD)
    return np.ascontiguousarray(whole[:, :, :size])


def _valid(mask: BoolArray) -> Words:
    """Ones where a bit is a voxel. Shape (1, 1, W)."""
    return _packed(np.ones((1, 1, mask.shape[2]), dtype=np.bool_))


def _along_last(words: Words) -> Words:
    """One step up and down the packed axis."""
    grown = words << ONE
    grown |= words >> ONE
    grown |= words
    grown[..., 1:] |= words[..., :-1] >> LAST
    grown[..., :-1] |= words[..., 1:] << LAST
    return grown


def _along_planes(words: Words, axis: int, grown: Words) -> Words:
    """Add one step up and down an unpacked axis of ``words`` to ``grown``, in place."""
    low, high = slice(None, -1), slice(1, None)
    _at(grown, axis, high)[...] |= _at(words, axis, low)
    _at(grown, axis, low)[...] |= _at(words, axis, high)
    return grown


def _grow_cross(words: Words) -> Words:
    return _along_planes(words, 1, _along_planes(words, 0, _along_last(words)))


def _grow_plane(words: Words) -> Words:
    grown = _along_planes(words, 0, words.copy())
    return _along_planes(grown, 1, grown.copy())


def _grow_box(words: Words) -> Words:
    return _grow_plane(_along_last(words))


GROW: dict[Shape, Callable[[Words], Words]] = {"cross": _grow_cross, "box": _grow_box, "plane": _grow_plane}
