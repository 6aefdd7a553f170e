"""What cross-fitted networks say of their patients, as image blocks of the prognostic head. Fits nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.prognostic_data import PrognosticData
from domain.quantities import NETWORK_QUANTITIES
from models.cross_fitting import CrossFit


def with_image_blocks(tables: PrognosticData, fitted: CrossFit, probabilities: NDArray[np.float64]) -> PrognosticData:
    """Tables with the image blocks of the same patients beside them, all of them out of fold.

    Rows beyond those of the network are patients without a scan: their blocks are NaN.
    """

    def padded(block: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.pad(block, ((0, len(tables) - len(block)), (0, 0)), constant_values=np.nan)

    return tables.replaced(
        embedding=padded(fitted.outputs.embedding),
        pattern_probabilities=padded(probabilities),
        quantitative_names=NETWORK_QUANTITIES,
        quantitative=padded(fitted.outputs.quantitative),
        patterns_out_of_fold=True,
    )
