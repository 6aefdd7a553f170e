"""One set of axes for the embeddings of all members of an ensemble."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.network import EmbeddingAlignment

FloatArray = NDArray[np.float64]


def orthogonal_map(source: FloatArray, reference: FloatArray) -> FloatArray:
    """Rotation (or reflection) that brings centred rows of ``source`` nearest to those of ``reference``.

    Args:
        source: Shape (N, D), centred.
        reference: Shape (N, D), centred, the same scans.

    Returns:
        Shape (D, D), orthogonal, for ``source @ result``.

    Source:
        The orthogonal Procrustes problem: U V^T of the singular value decomposition of source^T reference. An
        orthogonal map keeps distances, so it cannot invent agreement where members see different things.
    """
    left, _, right = np.linalg.svd(source.T @ reference)
    rotation: FloatArray = left @ right
    return rotation


def fit_alignment(alignment: EmbeddingAlignment, embedding: FloatArray, reference: FloatArray) -> None:
    """Set a member's alignment from the embeddings of the same scans by it and by the reference member.

    Args:
        alignment: Changed in place.
        embedding: Shape (N, D), by this member, alignment still the identity.
        reference: Shape (N, D), by the reference member, centred on its mean.
    """
    origin = embedding.mean(axis=0)
    rotation = orthogonal_map(embedding - origin, reference)
    alignment.origin.copy_(torch.from_numpy(origin))
    alignment.rotation.copy_(torch.from_numpy(rotation))


def align(alignment: EmbeddingAlignment, embedding: FloatArray) -> FloatArray:
    """Bring embeddings (N, D), taken before the alignment was fitted, to the shared axes."""
    with torch.no_grad():
        aligned: FloatArray = alignment(torch.from_numpy(embedding).float()).double().numpy()
    return aligned
