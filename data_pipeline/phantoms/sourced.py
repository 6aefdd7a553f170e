"""Numbers with the evidence mark and the source that stand beside them in YAML."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from domain.specs import Settings

Mark = Literal["A", "T", "S", "derived", "assumed", "unverified", "measured"]


class Sourced(Settings):
    """A row with the evidence mark and the source of its numbers.

    Attributes:
        mark: A abstract read, T table or excerpt read, S through a secondary page, derived = arithmetic on cited
            numbers, measured = by us on a real scan, assumed = our choice, unverified = general knowledge.
        source: Where the numbers come from, or why these.
    """

    mark: Mark
    source: str


class Value(Sourced):
    """One number."""

    value: float


class Range(Sourced):
    """Numbers drawn evenly between two limits."""

    range: tuple[float, float]

    @model_validator(mode="after")
    def _is_in_order(self) -> Range:
        if self.range[0] > self.range[1]:
            raise ValueError(f"range {self.range} runs downwards")
        return self

    def at(self, share: float) -> float:
        """The number at a share of the range, 0 low to 1 high."""
        low, high = self.range
        return low + (high - low) * float(share)
