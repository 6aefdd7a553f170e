"""How much the image branch and the quantitative branch count in the common answer. Fitted out of fold only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

FloatArray = NDArray[np.float64]

PENALTY = 0.02  # per squared departure from equal shares: few scans must not silence a branch
MAX_WEIGHT = 3.0


def combine_branches(branch_logits: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted sum of the branches' logits, (N, R, 4) and (R,) -> (N, 4)."""
    combined: FloatArray = np.einsum("nrk,r->nk", branch_logits, weights)
    return combined


def fit_branch_weights(branch_logits: FloatArray, targets: FloatArray) -> FloatArray:
    """Weights >= 0 that minimise the cross-entropy of the common answer.

    Args:
        branch_logits: Shape (N, R, 4), each row by a network that was not trained on it.
        targets: Shape (N, 4), soft labels; NaN rows are left out.

    Returns:
        Shape (R,). Equal shares for one branch or without labels. Temperature is absorbed: the calibrator, fitted
        later, starts near 1.

    Source:
        Stacking: Breiman 1996; weights are kept from below zero, as there.
    """
    num_branches = branch_logits.shape[1]
    equal = np.full(num_branches, 1.0 / num_branches)
    labelled = np.isfinite(targets).all(axis=1)
    if num_branches == 1 or not labelled.any():
        return equal
    logits, votes = branch_logits[labelled], targets[labelled]

    def loss(weights: FloatArray) -> float:
        scores = log_softmax(combine_branches(logits, weights), axis=1)
        return float(-(votes * scores).sum(axis=1).mean() + PENALTY * np.sum(np.square(weights - equal)))

    bounds = [(0.0, MAX_WEIGHT)] * num_branches
    found: FloatArray = minimize(loss, equal, method="L-BFGS-B", bounds=bounds).x
    return found
