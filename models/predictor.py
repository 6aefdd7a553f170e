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
from models.ensemble import Ensemble, NetworkOutput
from models.evidence import zone_shares
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
        self.ensemble = Ensemble(members, belief.calibrator, device)
        self.belief = belief

    @property
    def members(self) -> tuple[PatternNetwork, ...]:
        """The networks."""
        return self.ensemble.members

    @property
    def device(self) -> torch.device:
        """Where they run."""
        return self.ensemble.device

    def predict(self, item: Mapping[str, Any], *, with_evidence: bool = True) -> PatternExamination:
        """Predict one scan.

        Args:
            item: From the preprocessing graph: ``IMAGE``, ``QUANTITATIVE`` and, for the zone table, ``IMAGE_MASK``.
            with_evidence: Also make the evidence map.
        """
        image, quantities = network_input(item)
        (output,) = self.ensemble.run([image], [quantities], with_evidence=with_evidence)
        return conclude(item, output, self.belief)


def network_input(item: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Image (C, I, J, K) and quantitative CT (Q,) of a scan, float32.

    Raises:
        ValueError: Other shapes.
    """
    image = torch.as_tensor(item[batch_keys.IMAGE]).as_subclass(Tensor).float()
    quantities = torch.as_tensor(item[batch_keys.QUANTITATIVE]).as_subclass(Tensor).float()
    if image.ndim != 4 or quantities.ndim != 1:
        raise ValueError(
            f"a scan is (C, I, J, K) with quantitative CT (Q,), found {tuple(image.shape)} and "
            f"{tuple(quantities.shape)}"
        )
    return image, quantities


def conclude(item: Mapping[str, Any], output: NetworkOutput, belief: Belief) -> PatternExamination:
    """From what the members say to an answer; no network is needed any more.

    A cell of the network's last layer is some centimetres wide, so its evidence spills over what the graph has hidden;
    nothing there can have spoken. The zone table still counts the spill (``inside_lungs_share``), the map does not.

    Args:
        item: ``QUANTITATIVE`` and, for the zone table, ``IMAGE_MASK``.
        output: Of the same scan.
        belief: Calibration and limits.
    """
    raw = raw_output(item, output, belief)
    probabilities = belief.calibrator.probabilities(raw.logits)
    evidence, zones = output.evidence, {}
    if evidence is not None and output.seen is not None and batch_keys.IMAGE_MASK in item:
        zones = zone_shares(evidence, np.asarray(item[batch_keys.IMAGE_MASK])[0] > 0)
        evidence = np.where(output.seen, evidence, np.float32(0))
        peak = evidence.max(initial=0)
        evidence = evidence / peak if peak > 0 else evidence
    return PatternExamination(
        prediction=decide(raw, probabilities, belief),
        probabilities=probabilities,
        embedding=raw.embedding,
        evidence=evidence,
        evidence_zones=zones,
        spread=raw.spread,
    )


def raw_output(item: Mapping[str, Any], output: NetworkOutput, belief: Belief) -> RawOutput:
    """Mean over members of one scan."""
    each = belief.calibrator.probabilities(output.logits)  # (M, 4)
    return RawOutput(
        logits=output.logits.mean(axis=0),
        embedding=output.embedding.mean(axis=0),
        quantitative=np.asarray(item[batch_keys.QUANTITATIVE], dtype=np.float64),
        image_statistics=output.image_statistics,
        spread=float(each[:, each.mean(axis=0).argmax()].std()),
    )


def decide(raw: RawOutput, probabilities: FloatArray, belief: Belief) -> PatternPrediction:
    """Answer, or say why not."""
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
