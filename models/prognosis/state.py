"""What a fitted head remembers: codings, grid, hazards, replicates, and facts of its training cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domain.prognostic_data import PrognosticData
from models.prognosis.antibody_posterior import scenarios
from models.prognosis.feature_space import FeatureSpace
from models.prognosis.hazards import CausePlan, Hazards
from models.prognosis.residual import Residual
from models.prognosis.time_grid import TimeGrid

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingSummary:
    """Facts of the training cohort and of the fit.

    Attributes:
        num_patients: N.
        panel_tested_share: Share of patients with any antibody tested.
        image_share: Share of patients with an image.
        main_penalties: Ridge chosen by cross-validation, per cause.
        gate_penalties: Gate ridge of the heaviest fit in the average, per cause; None for no gates.
        strength_weights: Per cause, the weight of each set of strengths in the average.
        centre_sds: SD of the centre effects on the log hazard, per regression; 0 without centres.
        search_losses: Held-out negative log-likelihood of every choice tried.
        num_parameters: Coefficients per cause that are not held at zero.
        notes: What the user must know of this fit.
    """

    num_patients: int
    panel_tested_share: float
    image_share: float
    main_penalties: tuple[float, ...]
    gate_penalties: tuple[float | None, ...]
    strength_weights: tuple[dict[str, float], ...]
    centre_sds: tuple[float, ...]
    search_losses: dict[str, float]
    num_parameters: int
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Design:
    """Columns of N patients under one assumption about their untested antibodies.

    Attributes:
        static: Shape (N, P).
        temporal: Shape (N, Q).
        is_empty: Nothing at all is known of the patient, shape (N,).
        weight: Probability of the assumption, shape (N,).
    """

    static: FloatArray
    temporal: FloatArray
    is_empty: NDArray[np.bool_]
    weight: FloatArray


@dataclass(frozen=True, eq=False)
class ModelState:
    """A fitted head.

    Attributes:
        space: Codings of the inputs.
        grid: Intervals of the hazard.
        plan: How each cause was fitted.
        hazards: The fit.
        replicates: The fit on bootstrap samples.
        mean_static: Training mean of the static columns, shape (P,).
        mean_temporal: Training mean of the log-time columns, shape (Q,).
        recalibration_shift: Added to every log hazard, per cause and interval, shape (K, J).
        recalibration_slope: Multiplies the covariate part of the log hazard, per cause, shape (K,).
        summary: Facts of the training cohort.
        residual: Neural correction; None where the core alone is better or none was tried.
    """

    space: FeatureSpace
    grid: TimeGrid
    plan: CausePlan
    hazards: Hazards
    replicates: Hazards
    mean_static: FloatArray
    mean_temporal: FloatArray
    recalibration_shift: FloatArray
    recalibration_slope: FloatArray
    summary: TrainingSummary
    residual: Residual | None = None

    def design(self, data: PrognosticData) -> Design:
        """Columns of patients as they are, untested antibodies in a state of their own."""
        static, temporal = self.space.build(data)
        is_empty = ~(self.space.has_image(data) | self.space.has_tables(data))
        return Design(static, temporal, is_empty, np.ones(len(data)))

    def designs(self, data: PrognosticData, untested_mode: str) -> tuple[Design, ...]:
        """One design in ``state`` mode; one per antibody class in ``marginal`` mode, weights adding up to 1."""
        own = self.design(data)
        if untested_mode == "state" or self.space.posterior is None:
            return (own,)
        return tuple(
            replace(self.design(scenario.data), is_empty=own.is_empty, weight=scenario.weight)
            for scenario in scenarios(self.space.posterior, self.space, data)
        )

    def log_hazard(self, design: Design, hazards: Hazards) -> FloatArray:
        """Log hazard per day; of a patient of whom nothing is known, that of the cohort. Shape (..., N, K, J)."""
        average = self.average_log_hazard(hazards)[..., None, :, :]
        log_hazard = hazards.log_hazard(design.static, design.temporal, self.grid.log_time)
        if self.residual is not None:  # bands of the core do not know its uncertainty
            log_hazard = log_hazard + self.residual.log_hazard(design.static)[..., None]
        log_hazard = average + self.recalibration_slope[:, None] * (log_hazard - average)
        log_hazard[..., design.is_empty, :, :] = hazards.marginal[..., None, :, :]
        return np.asarray(log_hazard + self.recalibration_shift)

    def average_log_hazard(self, hazards: Hazards) -> FloatArray:
        """Log hazard of the training mean, before any recalibration. Shape (..., K, J)."""
        average = hazards.log_hazard(self.mean_static[None], self.mean_temporal[None], self.grid.log_time)
        return np.asarray(average[..., 0, :, :])
