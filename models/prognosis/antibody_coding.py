"""Antibody states as numbers: positive and not-tested shares per group, single antibodies as deviations.

Negative is the reference, so the three states have three effects. Groups with an ``any of`` member (an ELISA mix)
are positive or negative as a whole when only that member was tested.
Source: docs/prognosis.md; mutual exclusion of myositis-specific antibodies: Betteridge 2019 J Autoimmun.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.antibodies import load_antibody_vocabulary
from domain.prognostic_data import PrognosticData

FloatArray = NDArray[np.float64]

POSITIVE, NEGATIVE, NOT_TESTED = 1, 0, -1
WEAK_GRADES = (1, 2)  # (+) and +; ++ and +++ count as strong
EXCLUSIVE_GROUPS = ("mda5", "ars", "other_msa")  # a positive one makes an untested other as good as negative
UNKNOWN_GROUP = "other_msa"


@dataclass(frozen=True, eq=False)
class AntibodyCoding:
    """What was learnt of the antibodies of a training cohort.

    Attributes:
        keys: Antibodies of every group that somebody was tested for, sorted.
        key_groups: Group of each key.
        groups: Groups, sorted.
        prevalence: Share of a group's training positives that each key accounts for, shape (A,).
        num_positive: Training patients with each key positive, shape (A,).
        num_negative: The same, negative.
        num_not_tested: The same, not tested.
        num_both_positive: Training patients positive for both of two keys, shape (A, A).
        weak_positive_weight: Evidence of a weak blot relative to a strong one.
    """

    keys: tuple[str, ...]
    key_groups: tuple[str, ...]
    groups: tuple[str, ...]
    prevalence: FloatArray
    num_positive: NDArray[np.int64]
    num_negative: NDArray[np.int64]
    num_not_tested: NDArray[np.int64]
    num_both_positive: NDArray[np.int64]
    weak_positive_weight: float

    @property
    def deviation_keys(self) -> tuple[str, ...]:
        """Antibodies that may deviate from their group: named ones in groups of several, seen positive."""
        return tuple(
            key
            for key, group, positives in zip(self.keys, self.key_groups, self.num_positive, strict=True)
            if positives > 0 and key != group and self.key_groups.count(group) > 1
        )

    def members(self, group: str) -> NDArray[np.int64]:
        """Columns of a group."""
        return np.array([i for i, name in enumerate(self.key_groups) if name == group], dtype=np.int64)

    def states(self, data: PrognosticData) -> NDArray[np.int8]:
        """States in the order of ``keys``; an antibody that ``data`` does not have is not tested. Shape (N, A)."""
        states = np.full((len(data), len(self.keys)), NOT_TESTED, dtype=np.int8)
        for column, key in enumerate(self.keys):
            if data.antibodies is not None and key in data.antibody_keys:
                states[:, column] = data.antibodies[:, data.antibody_keys.index(key)]
        return states

    def grades(self, data: PrognosticData) -> FloatArray:
        """Line-blot grades in the order of ``keys``, NaN where none is given. Shape (N, A)."""
        grades = np.full((len(data), len(self.keys)), np.nan)
        for column, key in enumerate(self.keys):
            if data.antibody_grades is not None and key in data.antibody_keys:
                grades[:, column] = data.antibody_grades[:, data.antibody_keys.index(key)]
        return grades

    def evidence(self, data: PrognosticData) -> FloatArray:
        """1 for a positive, less for a weak blot, 0 otherwise. Shape (N, A)."""
        evidence: FloatArray = (self.states(data) == POSITIVE).astype(np.float64)
        evidence[np.isin(self.grades(data), WEAK_GRADES)] *= self.weak_positive_weight
        return evidence

    def group_states(self, data: PrognosticData) -> tuple[FloatArray, FloatArray]:
        """Positive evidence and not-tested share of each group. Each of shape (N, G), in [0, 1]."""
        states, evidence = self.states(data), self.evidence(data)
        positive = np.zeros((len(data), len(self.groups)))
        unknown = np.zeros_like(positive)
        for index, group in enumerate(self.groups):
            columns = self.members(group)
            positive[:, index] = evidence[:, columns].max(axis=1)
            tested = states[:, columns] != NOT_TESTED
            unknown[:, index] = 1.0 - tested @ self.prevalence[columns]
            if group in self.keys:  # an "any of" result speaks for the whole group
                unknown[states[:, self.keys.index(group)] != NOT_TESTED, index] = 0.0
            if not self.num_positive[columns].any():  # never seen positive: unknown, not silently negative
                unknown[:, index] = np.maximum(unknown[:, index], positive[:, index])
                positive[:, index] = 0.0
        return positive, np.clip(unknown * (1.0 - self._explained(positive)), 0.0, 1.0)

    def _explained(self, positive: FloatArray) -> FloatArray:
        """How far each group is settled by a positive result: its own, or another exclusive group's. (N, G)."""
        explained = positive.copy()
        exclusive = [index for index, group in enumerate(self.groups) if group in EXCLUSIVE_GROUPS]
        if exclusive:
            explained[:, exclusive] = positive[:, exclusive].max(axis=1, keepdims=True)
        return explained

    def num_specific_positive(self, data: PrognosticData) -> NDArray[np.int64]:
        """Myositis-specific antibodies found positive in each patient, an "any of" result not counted. Shape (N,)."""
        named = [i for i, key in enumerate(self.keys) if self.key_groups[i] in EXCLUSIVE_GROUPS and key != "ars"]
        return np.asarray((self.states(data)[:, named] == POSITIVE).sum(axis=1))


def group_names(data: PrognosticData) -> tuple[str, ...]:
    """Group of each antibody of ``data``: as declared, else as the shipped vocabulary has it."""
    if data.antibody_groups:
        return data.antibody_groups
    vocabulary = load_antibody_vocabulary()
    known = dict(zip(vocabulary.keys, vocabulary.group_names, strict=True))
    return tuple(known.get(key, UNKNOWN_GROUP) for key in data.antibody_keys)


def fit_antibody_coding(data: PrognosticData, weak_positive_weight: float) -> AntibodyCoding:
    """Learn groups and counts; groups that nobody was tested for are left out."""
    states = np.zeros((len(data), 0), dtype=np.int8) if data.antibodies is None else data.antibodies
    groups_of = group_names(data) if states.shape[1] else ()
    tested = {group for column, group in enumerate(groups_of) if (states[:, column] != NOT_TESTED).any()}
    kept = sorted((key, column) for column, key in enumerate(data.antibody_keys) if groups_of[column] in tested)
    keys = tuple(key for key, _ in kept)
    columns = [column for _, column in kept]
    key_groups = tuple(groups_of[column] for column in columns)
    chosen = states[:, columns]
    positive = chosen == POSITIVE
    num_positive = positive.sum(axis=0)
    return AntibodyCoding(
        keys=keys,
        key_groups=key_groups,
        groups=tuple(sorted(set(key_groups))),
        prevalence=_prevalence(keys, key_groups, num_positive),
        num_positive=num_positive.astype(np.int64),
        num_negative=(chosen == NEGATIVE).sum(axis=0).astype(np.int64),
        num_not_tested=(chosen == NOT_TESTED).sum(axis=0).astype(np.int64),
        num_both_positive=(positive.T.astype(np.int64) @ positive.astype(np.int64)),
        weak_positive_weight=weak_positive_weight,
    )


def _prevalence(keys: tuple[str, ...], key_groups: tuple[str, ...], num_positive: NDArray[np.int64]) -> FloatArray:
    """Share of a group's positives by member, each with half a patient more; an "any of" member has none."""
    weight = np.array([count + 0.5 for count in num_positive], dtype=np.float64)
    for column, (key, group) in enumerate(zip(keys, key_groups, strict=True)):
        if key == group and key_groups.count(group) > 1:
            weight[column] = 0.0
    totals = {group: sum(weight[i] for i, name in enumerate(key_groups) if name == group) for group in set(key_groups)}
    return np.array([w / totals[group] for w, group in zip(weight, key_groups, strict=True)], dtype=np.float64)
