"""Image patterns: NSIP, OP, both (mixed), or something else. Two co-occurring components plus a rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from domain.config_files import config_path
from domain.specs import Settings
from domain.strict_yaml import load_settings


class Pattern(StrEnum):
    """The four answers. ``PATTERNS`` is their order in every array and table."""

    NSIP = "nsip"
    OP = "op"
    MIXED = "mixed"
    OTHER = "other"

    @property
    def has_nsip(self) -> bool:
        """The NSIP component is present."""
        return self in {Pattern.NSIP, Pattern.MIXED}

    @property
    def has_op(self) -> bool:
        """The OP component is present."""
        return self in {Pattern.OP, Pattern.MIXED}


PATTERNS: tuple[Pattern, ...] = tuple(Pattern)
NUM_PATTERNS = len(PATTERNS)


class PatternEntry(Settings):
    """How a pattern is named, defined and recognised in a case table."""

    key: Pattern
    name: str
    aliases: tuple[str, ...] = ()
    definition: str
    source: str


class PatternVocabulary(Settings):
    """All patterns, and the published rule for labels made from extents."""

    format_version: int = 1
    mixed_lesser_component_percent: float = Field(gt=0, lt=50)
    mixed_rule: str
    patterns: tuple[PatternEntry, ...]

    @model_validator(mode="after")
    def _has_each_pattern_once(self) -> PatternVocabulary:
        if tuple(entry.key for entry in self.patterns) != PATTERNS:
            raise ValueError(f"must list each of {', '.join(PATTERNS)} once, in this order")
        return self

    def parse(self, text: str) -> Pattern | None:
        """The pattern a table cell names, by key or alias, whatever its case; None when it names none."""
        wanted = text.strip().casefold()
        for entry in self.patterns:
            if wanted in {entry.key.value, *(alias.casefold() for alias in entry.aliases)}:
                return entry.key
        return None


def load_pattern_vocabulary() -> PatternVocabulary:
    """The shipped pattern vocabulary."""
    return load_settings(PatternVocabulary, config_path("vocabularies/patterns.yaml"))


def vote_probabilities(votes: Mapping[str, Pattern] | Sequence[Pattern]) -> NDArray[np.float64]:
    """Share of readers who chose each pattern: a soft label.

    Args:
        votes: One pattern per reader. Empty for an unlabelled case.

    Returns:
        Shape (4,), in the order of ``PATTERNS``, adding up to 1; all NaN without a vote.
    """
    chosen = list(votes.values()) if isinstance(votes, Mapping) else list(votes)
    if not chosen:
        return np.full(NUM_PATTERNS, np.nan)
    return np.array([chosen.count(pattern) / len(chosen) for pattern in PATTERNS])
