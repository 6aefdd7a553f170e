"""Tensors of one scan in, a calibrated pattern prediction out. Files, graphs and prognosis are not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain import batch_keys
from domain.patterns import PATTERNS
from domain.records import PatternPrediction
from models.belief import Belief
from models.devices import autocast, channels_last, place
from models.evidence import gradient_evidence, mean_evidence, scale_to_one, zone_shares
from models.image_statistics import image_statistics
from models.network import PatternNetwork

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RawOutput:
    """What the ensemble says before calibration.

    Attributes:
        logits: Shape (4,), mean over members.
        embedding: Shape (D,), mean over members, shared axes.
        quantitative: Shape (Q,).
        image_statistics: Shape (S,).
        spread: Standard deviation over members of the answer's probability, 0..0.5; 0 for one member.
    """

    logits: FloatArray
    embedding: FloatArray
    quantitative: FloatArray
    image_statistics: FloatArray
    spread: float


@dataclass(frozen=True, eq=False)
class PatternExamination:
    """A prediction with what later steps need of it.

    Attributes:
        prediction: For the report.
        probabilities: Shape (4,), calibrated, in the order of ``PATTERNS``.
        embedding: Shape (D,), for the prognostic head.
        evidence: Shape (I', J', K') on the network's grid, 0..1; None for a network that does not see the image.
        evidence_zones: Lung zone -> share of the evidence.
        spread: Disagreement of the members.
    """

    prediction: PatternPrediction
    probabilities: FloatArray
    embedding: FloatArray
    evidence: NDArray[np.float32] | None
    evidence_zones: dict[str, float]
    spread: float


class Predictor:
    """An ensemble with its calibration.

    Args:
        members: At least one network of the same spec.
        belief: Calibration and limits.
        device: Where the members run.
    """

    def __init__(self, members: Sequence[PatternNetwork], belief: Belief, device: torch.device) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        for member in members:
            place(member.eval(), device)
        self.members = tuple(members)
        self.belief = belief
        self.device = device

    def predict(self, item: Mapping[str, Any], *, with_evidence: bool = True) -> PatternExamination:
        """Predict one scan.

        Args:
            item: From the preprocessing graph: ``IMAGE``, ``QUANTITATIVE`` and, for the zone table, ``IMAGE_MASK``.
            with_evidence: Also make the evidence map; costs about one more pass.
        """
        image, quantitative = self._inputs(item)
        raw = self.raw_output(image, quantitative)
        probabilities = self.belief.calibrator.probabilities(raw.logits)
        evidence = self._evidence(image, quantitative, int(probabilities.argmax())) if with_evidence else None
        zones: dict[str, float] = {}
        if evidence is not None and batch_keys.IMAGE_MASK in item:
            zones = zone_shares(evidence.astype(np.float64), np.asarray(item[batch_keys.IMAGE_MASK])[0] > 0)
            evidence = scale_to_one(torch.from_numpy(evidence) * sees(image[0]).cpu()).numpy()
        return PatternExamination(
            prediction=self.decide(raw, probabilities),
            probabilities=probabilities,
            embedding=raw.embedding,
            evidence=evidence,
            evidence_zones=zones,
            spread=raw.spread,
        )

    @torch.no_grad()
    def raw_output(self, image: Tensor, quantitative: Tensor) -> RawOutput:
        """Mean over members for one scan: image (1, C, I, J, K), quantitative (1, Q), both on the device."""
        with autocast(self.device):
            outputs = [member(image, quantitative) for member in self.members]
        logits = torch.cat([output["pattern_logits"] for output in outputs]).double().cpu().numpy()  # (M, 4)
        embedding = torch.cat([output["embedding"] for output in outputs]).double().cpu().numpy()  # (M, D)
        each = self.belief.calibrator.probabilities(logits)  # (M, 4)
        return RawOutput(
            logits=logits.mean(axis=0),
            embedding=embedding.mean(axis=0),
            quantitative=quantitative[0].double().cpu().numpy(),
            image_statistics=image_statistics(image)[0].double().cpu().numpy(),
            spread=float(each[:, each.mean(axis=0).argmax()].std()),
        )

    def decide(self, raw: RawOutput, probabilities: FloatArray) -> PatternPrediction:
        """Answer, or say why not."""
        belief = self.belief
        score = float(
            belief.out_of_distribution.score(raw.embedding[None], raw.quantitative[None], raw.image_statistics[None])[0]
        )
        limit = belief.out_of_distribution.threshold
        confidence = float(probabilities.max())
        reason = ""
        if not score <= limit:
            reason = f"the scan is unlike the training scans: distance {score:.2f}, limit {limit:.2f}"
        elif confidence < belief.abstention.min_confidence:
            reason = (
                f"the most probable pattern has probability {confidence:.2f}, "
                f"below the limit of {belief.abstention.min_confidence:.2f} for an answer"
            )
        return PatternPrediction(
            probabilities={pattern: float(p) for pattern, p in zip(PATTERNS, probabilities, strict=True)},
            pattern=None if reason else PATTERNS[int(probabilities.argmax())],
            abstained=bool(reason),
            reason=reason,
            pattern_set=belief.conformal.pattern_set(probabilities),
            set_level=belief.conformal.level,
            ood_score=score,
            ood_threshold=limit,
        )

    def _inputs(self, item: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        image = torch.as_tensor(item[batch_keys.IMAGE]).as_subclass(Tensor).float()
        quantitative = torch.as_tensor(item[batch_keys.QUANTITATIVE]).as_subclass(Tensor).float()
        if image.ndim != 4 or quantitative.ndim != 1:
            raise ValueError(
                f"a scan is (C, I, J, K) with quantitative CT (Q,), found {tuple(image.shape)} and "
                f"{tuple(quantitative.shape)}"
            )
        return channels_last(image[None].to(self.device)), quantitative[None].to(self.device)

    def _evidence(self, image: Tensor, quantitative: Tensor, pattern_index: int) -> NDArray[np.float32] | None:
        maps = [gradient_evidence(member, image, quantitative, pattern_index) for member in self.members]
        seen = [found for found in maps if found is not None]
        if not seen:
            return None
        evidence: NDArray[np.float32] = mean_evidence(seen).cpu().numpy()
        return evidence


def sees(image: Tensor) -> Tensor:
    """Where a network is given anything: voxels not blank (0) in every channel.

    A cell of the network's last layer is some centimetres wide, so its evidence spills over what the graph has hidden;
    nothing there can have spoken. The zone table still counts the spill (``inside_lungs_share``).

    Args:
        image: Shape (C, I, J, K).

    Returns:
        Shape (I, J, K), float, 1 or 0.
    """
    return (image != 0).any(dim=0).float()
