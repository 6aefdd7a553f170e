"""The pattern network: backbone, quantitative encoder, component head. Antibodies never enter; see the design.

B batch, C channels, I J K voxels, F pooled features, Q quantitative measures, D embedding, 4 patterns.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class Branch(nn.Module):
    """Features of one kind to an embedding of their own, on which a head of their own is linear."""

    def __init__(self, num_features: int, size: int, dropout: float) -> None:
        super().__init__()
        self.fuse = nn.Sequential(nn.Linear(num_features, size), nn.LayerNorm(size))
        self.dropout = nn.Dropout(dropout)
        self.head = ComponentHead(size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Shape (B, F) -> embedding (B, D'), logits (B, 4)."""
        embedding = self.fuse(features.float())
        return embedding, self.head(self.dropout(embedding))


class PatternNetwork(nn.Module):
    """An image branch, a quantitative branch, or both: each answers for itself, and the answers are added.

    Both branches are trained to answer alone, so that neither can lean on the other's overfitting; how much each
    counts (``branch_weights``) is fitted on out-of-fold answers afterwards. A hybrid whose image branch has learnt
    nothing then says what quantitative CT alone says.

    Attributes:
        branch_weights: Shape (R,), image first; equal shares until they are fitted.
        mirror_average: Once trained, answer with the mean over the scan and its mirror image.
    """

    branch_weights: Tensor

    def __init__(
        self,
        backbone: Backbone,
        encoder: QuantitativeEncoder | None,
        *,
        size: int,
        dropout: float,
        mirror_average: bool = False,
    ) -> None:
        super().__init__()
        self.mirror_average = mirror_average
        self.backbone = backbone
        self.encoder = encoder
        widths = [part.num_features for part in (backbone, encoder) if part is not None and part.num_features]
        if not widths:
            raise ValueError("a network needs an image backbone, quantitative CT, or both")
        share = size // len(widths)
        sizes = [share] * (len(widths) - 1) + [size - share * (len(widths) - 1)]
        self.branches = nn.ModuleList(Branch(width, part, dropout) for width, part in zip(widths, sizes, strict=True))
        self.alignment = EmbeddingAlignment(size)
        self.register_buffer("branch_weights", torch.full((len(widths),), 1.0 / len(widths)))

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
            ``pattern_logits`` (B, 4), ``branch_logits`` (B, R, 4) of which they are the weighted sum, ``embedding``
            (B, D) in the axes of the ensemble, and ``image_features`` (B, F), F 0 without an image.
        """
        return self.from_maps([self.backbone.feature_map(view) for view in self.views(image)], quantitative)

    def views(self, image: Tensor) -> tuple[Tensor, ...]:
        """The scan, and its mirror image where the trained network answers with the mean over both."""
        if self.mirror_average and not self.training and self.backbone.sees_image:
            return image, image.flip(2)
        return (image,)

    def from_maps(self, maps: Sequence[Tensor], quantitative: Tensor) -> dict[str, Tensor]:
        """The part after the feature maps of all views, each (B, F, i, j, k): their mean answer."""
        outputs = [self.from_features(features, quantitative) for features in maps]
        if len(outputs) == 1:
            return outputs[0]
        return {name: torch.stack([each[name] for each in outputs]).mean(dim=0) for name in outputs[0]}

    def from_features(self, features: Tensor, quantitative: Tensor) -> dict[str, Tensor]:
        """The part after one feature map (B, F, i, j, k); evidence maps take gradients here."""
        image_features = self.backbone.pool(features).float()  # (B, F)
        parts = [image_features] if self.backbone.sees_image else []
        if self.encoder is not None:
            parts.append(self.encoder(quantitative))  # (B, QUANTITATIVE_FEATURES)
        answers = [branch(part) for branch, part in zip(self.branches, parts, strict=True)]
        branch_logits = torch.stack([logits for _, logits in answers], dim=1)  # (B, R, 4)
        embedding = torch.cat([embedding for embedding, _ in answers], dim=1)  # (B, D)
        return {
            "pattern_logits": (self.branch_weights[:, None] * branch_logits).sum(dim=1),
            "branch_logits": branch_logits,
            "embedding": self.alignment(embedding),
            "image_features": image_features,
        }


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
    return PatternNetwork(
        backbone, encoder, size=spec.embedding_size, dropout=spec.dropout, mirror_average=spec.mirror_average
    )
