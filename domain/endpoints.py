"""Survival endpoints: which events count, what competes, from when, in which unit, up to when."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from domain.config_files import resolve_config
from domain.specs import Settings
from domain.strict_yaml import load_settings


class Cause(Settings):
    """One way to leave the event-free state."""

    key: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str
    events: tuple[str, ...] = Field(min_length=1)


class RiskGroup(Settings):
    """A named band of absolute risk at one horizon; the upper end belongs to the next group."""

    key: str
    below: float = Field(gt=0, le=1)


class Endpoint(Settings):
    """One time-to-event question.

    Attributes:
        survival_means: What the survival curve of this endpoint is the probability of, in words.
        causes: Competing first events; with one cause this is ordinary survival.
        censored_events: Values of the event column that mean no event so far.
        window_days: Events after it are censored at it (rapidly progressive disease); None for no window.
        grid_days: Edges of the piecewise-exponential hazard; the horizons must be among them.
        risk_horizon_days: Horizon of the risk groups.
    """

    format_version: int = 1
    name: str
    title: str
    survival_means: str
    time_origin: Literal["index_ct"] = "index_ct"
    time_column: str = "time_days"
    event_column: str = "event"
    time_unit: Literal["days"] = "days"
    causes: tuple[Cause, ...] = Field(min_length=1)
    censored_events: tuple[str, ...] = Field(min_length=1)
    window_days: float | None = None
    horizons_days: tuple[int, ...] = Field(min_length=1)
    grid_days: tuple[float, ...]
    risk_horizon_days: int
    risk_groups: tuple[RiskGroup, ...] = Field(min_length=1)
    source: str

    @model_validator(mode="after")
    def _is_coherent(self) -> Endpoint:
        if list(self.grid_days) != sorted(set(self.grid_days)) or self.grid_days[0] != 0:
            raise ValueError("grid_days must start at 0 and rise")
        if missing := sorted(set(self.horizons_days) - set(self.grid_days)):
            raise ValueError(f"horizons_days must be edges of grid_days; {missing} are not")
        if self.risk_horizon_days not in self.horizons_days:
            raise ValueError("risk_horizon_days must be one of horizons_days")
        cuts = [group.below for group in self.risk_groups]
        if cuts != sorted(set(cuts)) or cuts[-1] != 1:
            raise ValueError("risk_groups must have rising cut-offs that end at 1")
        events = [event for cause in self.causes for event in cause.events] + list(self.censored_events)
        if len(events) != len(set(events)):
            raise ValueError("an event stands in two places")
        return self

    @property
    def cause_keys(self) -> tuple[str, ...]:
        """Keys of the causes in order."""
        return tuple(cause.key for cause in self.causes)

    @property
    def last_day(self) -> float:
        """End of the window, days; infinity where there is none."""
        return math.inf if self.window_days is None else self.window_days

    def cause_index(self, event: str) -> int | None:
        """0 for censored, k for the k-th cause (from 1), None for an unknown event."""
        if event in self.censored_events:
            return 0
        for index, cause in enumerate(self.causes, start=1):
            if event in cause.events:
                return index
        return None

    def risk_group(self, risk: float) -> str:
        """Name of the band an absolute risk at ``risk_horizon_days`` falls into."""
        return next(group.key for group in self.risk_groups if risk < group.below or group.below == 1)


def load_endpoint(name_or_path: str) -> Endpoint:
    """A shipped endpoint by name, or a cohort's own YAML file."""
    return load_settings(Endpoint, resolve_config(name_or_path, "endpoints"))
