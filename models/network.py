"""The pattern network: backbone, quantitative encoder, component head. Antibodies never enter; see the design.

B batch, C channels, I J K voxels, F pooled features, Q quantitative measures, D embedding, 4 patterns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain.specs import ModelSpec
from models.backbones import BACKBONES, Backbone
from models.quantitative_encoder import QuantitativeEncoder

QUANTITATIVE_FEATURES = 32  # width of the quantitative branch


class ComponentHead(nn.Module):
    """Evidence for an NSIP component, an OP component and a rest, combined into four pattern logits.

    With n, o and r the three evidences and c one learnt number for how readily the components co-occur::

        nsip = n      op = o      mixed = n + o + c      other = r

    This is the log-linear model of two binary components. "Mixed" has no weights of its own: what teaches the
    network NSIP or OP alone also teaches it mixed, the class with the fewest scans. Any four probabilities can still
    be reached.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.evidence = nn.Linear(num_features, 3)
        self.co_occurrence = nn.Parameter(torch.zeros(()))

    def forward(self, embedding: Tensor) -> Tensor:
        """Shape (B, D) -> (B, 4), in the order of ``PATTERNS``."""
        nsip, op, other = self.evidence(embedding).unbind(dim=1)  # each (B,)
        return torch.stack([nsip, op, nsip + op + self.co_occurrence, other], dim=1)


class EmbeddingAlignment(nn.Module):
    """Turns the embedding into the axes that all members of an ensemble share; identity until it is fitted.

    Each member learns its axes in its own order. A prognostic head fitted on out-of-fold embeddings needs one space.
    """

    origin: Tensor
    rotation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(size))
        self.register_buffer("rotation", torch.eye(size))

    def forward(self, embedding: Tensor) -> Tensor:
        """Shape (B, D) -> (B, D)."""
        return (embedding - self.origin) @ self.rotation


class PatternNetwork(nn.Module):
    """Backbone and quantitative CT, fused into one embedding on which the head is linear."""

    def __init__(self, backbone: Backbone, encoder: QuantitativeEncoder | None, *, size: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoder = encoder
        num_features = backbone.num_features + (encoder.num_features if encoder is not None else 0)
        if num_features == 0:
            raise ValueError("a network needs an image backbone, quantitative CT, or both")
        self.fuse = nn.Sequential(nn.Linear(num_features, size), nn.LayerNorm(size))
        self.dropout = nn.Dropout(dropout)
        self.head = ComponentHead(size)
        self.alignment = EmbeddingAlignment(size)

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.alignment.origin.shape[0]

    def forward(self, image: Tensor, quantitative: Tensor) -> dict[str, Tensor]:
        """Logits and embedding.

        Args:
            image: Shape (B, C, I, J, K), float32, about 0..1.
            quantitative: Shape (B, Q), float32, physical units, NaN where unknown.

        Returns:
            ``pattern_logits`` (B, 4) and ``embedding`` (B, D), in the axes of the ensemble.
        """
        return self.from_features(self.backbone.feature_map(image), quantitative)

    def from_features(self, features: Tensor, quantitative: Tensor) -> dict[str, Tensor]:
        """The part after the feature map (B, F, i, j, k); evidence maps take gradients here."""
        parts = [self.backbone.pool(features)]  # (B, F)
        if self.encoder is not None:
            parts.append(self.encoder(quantitative))  # (B, QUANTITATIVE_FEATURES)
        embedding = self.fuse(torch.cat([part.float() for part in parts], dim=1))  # (B, D)
        logits = self.head(self.dropout(embedding))  # (B, 4)
        return {"pattern_logits": logits, "embedding": self.alignment(embedding)}


def build_network(spec: ModelSpec, num_channels: int, num_quantities: int) -> PatternNetwork:
    """Build the network of a spec with fresh weights.

    Args:
        spec: What to build.
        num_channels: Channels of the network's input.
        num_quantities: Quantitative measures per scan.

    Raises:
        RegistryError: Unknown backbone.
        SettingsError: Its parameters are wrong.
        ValueError: Neither image nor quantitative CT is used.
    """
    backbone = BACKBONES.build(spec.backbone, num_channels=num_channels)
    encoder = None
    if spec.use_quantitative:
        encoder = QuantitativeEncoder(num_quantities, QUANTITATIVE_FEATURES, spec.dropout)
    return PatternNetwork(backbone, encoder, size=spec.embedding_size, dropout=spec.dropout)
