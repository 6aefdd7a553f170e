"""Text drawn into the pixels of a slice, as far as it can be told from anatomy: constant bright marks in the air.

Finds letters beside the patient, where consoles and workstations write names, dates and scales. Letters across the
body, letters of grey that varies, handwriting and faces are not found: a person has to look.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MARK_HU = -300  # brighter than air and the padding of a table
MARK_PIXELS = (6, 2000)  # of one letter, of a thin 5 x 3 font to a large one
MARK_HEIGHT = (5, 60)  # pixels
CONSTANT_SHARE = 0.5  # of a mark's pixels that hold its brightest value; noise of a CT scan leaves far fewer
MIN_LETTERS = 4  # of one value in one line: fewer may be markers on the skin


def letter_marks(hu: NDArray[np.int16]) -> int:
    """Number of letter-like marks of the longest line of them in a slice; 0 where it is short of a word.

    Args:
        hu: One slice, shape (J, I).
    """
    labels, _ = ndimage.label(hu > MARK_HU, structure=np.ones((3, 3)))
    lines: dict[int, list[slice]] = {}  # brightest value -> rows of the marks
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        height, width = (axis.stop - axis.start for axis in box)
        if not MARK_HEIGHT[0] <= height <= MARK_HEIGHT[1] or width > MARK_HEIGHT[1]:
            continue
        values = hu[box][labels[box] == number]
        brightest = int(values.max())
        is_letter = MARK_PIXELS[0] <= values.size <= MARK_PIXELS[1]
        if is_letter and np.mean(values == brightest) >= CONSTANT_SHARE:
            lines.setdefault(brightest, []).append(box[0])
    longest = max((_longest_line(rows) for rows in lines.values()), default=0)
    return longest if longest >= MIN_LETTERS else 0


def _longest_line(rows: list[slice]) -> int:
    """Most marks that one row of pixels meets."""
    return max(sum(1 for other in rows if other.start <= row.start < other.stop) for row in rows)


def slices_with_text(voxels: NDArray[np.int16]) -> tuple[int, ...]:
    """Places of the slices that seem to carry text. Voxels of shape (I, J, K), HU."""
    return tuple(place for place, plane in enumerate(voxels.transpose(2, 1, 0)) if letter_marks(plane))
