"""How likely each antibody class is for a patient who was not tested, given the image and the clinic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from domain.prognostic_data import PrognosticData
from models.prognosis.antibody_coding import EXCLUSIVE_GROUPS, NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from models.prognosis.feature_space import FeatureSpace

FloatArray = NDArray[np.float64]

NONE_CLASS = "none"
RIDGE = 4.0  # precision of the slopes: a class must earn its distance from the plain frequencies
MIN_TESTED = 20  # fewer tested patients: frequencies only
UNTESTED_SHARE = 0.5  # a group whose untested share is above this counts as untested


@dataclass(frozen=True, eq=False)
class AntibodyPosterior:
    """Multinomial logistic model of the antibody class, fitted on tested patients.

    Attributes:
        classes: Exclusive groups seen positive, then ``none``.
        intercept: Shape (C,).
        slopes: Shape (C, F).
    """

    classes: tuple[str, ...]
    intercept: FloatArray
    slopes: FloatArray

    def probabilities(self, space: FeatureSpace, data: PrognosticData) -> FloatArray:
        """Probability of each class from image and covariates alone. Shape (N, C)."""
        return np.asarray(softmax(self.intercept + _features(space, data) @ self.slopes.T, axis=1))

    def consistent(self, space: FeatureSpace, data: PrognosticData) -> FloatArray:
        """The same, given what was tested: a class whose group was tested gets none of it. Shape (N, C)."""
        _, unknown = space.antibody.group_states(data)
        probability = self.probabilities(space, data)
        for column, name in enumerate(self.classes[:-1]):
            tested = unknown[:, space.antibody.groups.index(name)] <= UNTESTED_SHARE
            probability[tested, column] = 0.0
        return np.asarray(probability / probability.sum(axis=1, keepdims=True))

    def expected_positive(self, space: FeatureSpace, data: PrognosticData) -> FloatArray:
        """Probability that each group is positive though it was not tested; 0 where it was. Shape (N, G)."""
        expected = np.zeros((len(data), len(space.antibody.groups)))
        probability = self.consistent(space, data)
        for column, name in enumerate(self.classes[:-1]):
            expected[:, space.antibody.groups.index(name)] = probability[:, column]
        return expected


def _features(space: FeatureSpace, data: PrognosticData) -> FloatArray:
    return np.column_stack([space.clinical.standard_scores(data), space.image.standard_scores(data)])


def fit_antibody_posterior(data: PrognosticData, space: FeatureSpace) -> AntibodyPosterior | None:
    """Fit on the patients whose exclusive groups were all tested; None where no such group was seen positive."""
    positive, unknown = space.antibody.group_states(data)
    groups = [(i, g) for i, g in enumerate(space.antibody.groups) if g in EXCLUSIVE_GROUPS and positive[:, i].any()]
    if not groups:
        return None
    columns = [index for index, _ in groups]
    known = (unknown[:, columns] < UNTESTED_SHARE).all(axis=1)
    classes = (*(group for _, group in groups), NONE_CLASS)
    best = positive[known][:, columns]
    label = np.where(best.max(axis=1, initial=0.0) > 0, best.argmax(axis=1), len(columns))
    target = np.eye(len(classes))[label]
    features = _features(space, data)[known]
    frequencies = (target.sum(axis=0) + 0.5) / (target.sum() + 0.5 * len(classes))
    start = np.zeros((len(classes), 1 + features.shape[1]))
    start[:, 0] = np.log(frequencies)
    if known.sum() < MIN_TESTED or not features.shape[1]:
        return AntibodyPosterior(classes, start[:, 0], start[:, 1:])
    design = np.column_stack([np.ones(len(features)), features])

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        weights = flat.reshape(start.shape)
        logits = design @ weights.T
        slopes = np.column_stack([np.zeros(len(classes)), weights[:, 1:]])
        value = -float((target * log_softmax(logits, axis=1)).sum()) + 0.5 * RIDGE * float((slopes**2).sum())
        gradient = (softmax(logits, axis=1) - target).T @ design + RIDGE * slopes
        return value, gradient.ravel()

    weights = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    weights = weights.reshape(start.shape)
    return AntibodyPosterior(classes, weights[:, 0], weights[:, 1:])


@dataclass(frozen=True, eq=False)
class Scenario:
    """One way the untested antibodies could have come out.

    Attributes:
        name: The class that is positive, or ``none``.
        data: Inputs with the untested groups filled in.
        weight: Posterior probability for each patient, shape (N,); 0 where a test contradicts the class.
    """

    name: str
    data: PrognosticData
    weight: FloatArray


def scenarios(posterior: AntibodyPosterior, space: FeatureSpace, data: PrognosticData) -> tuple[Scenario, ...]:
    """All classes of the untested groups with their probabilities, which add up to 1 for each patient.

    Patients with nothing untested get their own data and weight 1 in the last scenario.
    """
    coding = space.antibody
    states, (_, unknown) = coding.states(data), coding.group_states(data)
    untested = {g: unknown[:, i] > UNTESTED_SHARE for i, g in enumerate(coding.groups) if g in EXCLUSIVE_GROUPS}
    probability = posterior.consistent(space, data)
    filled = states.copy()
    for group, rows in untested.items():
        filled[np.ix_(rows, coding.members(group))] = NEGATIVE
    result = []
    for column, name in enumerate(posterior.classes):
        assumed, grades = filled.copy(), coding.grades(data)
        if name != NONE_CLASS:
            assumed[untested[name], _representative(space, name)] = POSITIVE
            grades[untested[name], _representative(space, name)] = np.nan
        changed = data.replaced(
            antibodies=assumed, antibody_keys=coding.keys, antibody_groups=coding.key_groups, antibody_grades=grades
        )
        result.append(Scenario(name, changed, probability[:, column]))
    return tuple(result)


def _representative(space: FeatureSpace, group: str) -> int:
    """The member that stands for its group: the "any of" result, else the most frequent one."""
    keys = space.antibody.keys
    if group in keys:
        return keys.index(group)
    members = space.antibody.members(group)
    return int(members[space.antibody.num_positive[members].argmax()])
