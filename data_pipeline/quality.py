"""The quality policy: how severe each code is and where its thresholds lie, from one YAML file. Looks at no scan."""

from __future__ import annotations

import re
from functools import lru_cache

from pydantic import Field, model_validator

from domain.config_files import resolve_config
from domain.findings import Finding, QualityCode, Severity
from domain.specs import Settings
from domain.strict_yaml import load_settings
from domain.volume import KernelClass

Fact = str | int | float | bool

MIN_VOXELS = 10_000  # fewer say nothing about content
AIR_LIKE_HU = -500  # air and lung lie below, everything else of a body above


class QualityThresholds(Settings):
    """Where a measured value becomes a finding; units in the names."""

    min_slices: int = Field(ge=1)
    few_slices: int = Field(ge=1)
    min_matrix: int = Field(ge=1)
    small_matrix: int = Field(ge=1)
    spacing_tolerance: float = Field(gt=0, lt=0.5)
    tilt_tolerance_degrees: float = Field(gt=0, lt=45)
    max_tilt_degrees: float = Field(gt=0, lt=60)
    sideways_tolerance_mm: float = Field(gt=0)
    oblique_tolerance_degrees: float = Field(gt=0, lt=90)
    thick_slices_mm: float = Field(gt=0)
    max_slice_thickness_mm: float = Field(gt=0)
    sequential_gap_ratio: float = Field(ge=1)
    sequential_gap_excess_mm: float = Field(ge=0)
    min_field_of_view_mm: float = Field(ge=0)
    min_chest_height_mm: float = Field(ge=0)
    max_volume_gib: float = Field(gt=0)


class QualityPolicy(Settings):
    """``configs/quality/policy.yaml``.

    Attributes:
        severity: What each code does to a scan. Every code must be there.
        severe: The graver form of codes that come in two.
    """

    format_version: int = 1
    severity: dict[QualityCode, Severity]
    severe: dict[QualityCode, Severity]
    thresholds: QualityThresholds

    @model_validator(mode="after")
    def _every_code_has_a_severity(self) -> QualityPolicy:
        missing = [code.value for code in QualityCode if code not in self.severity]
        if missing:
            raise ValueError(f"codes without a severity: {', '.join(missing)}")
        return self

    def finding(self, code: QualityCode, message: str, *, severe: bool = False, **facts: Fact) -> Finding:
        """A finding with the severity this policy gives it."""
        severity = self.severe.get(code, self.severity[code]) if severe else self.severity[code]
        return Finding(code, severity, message, facts)

    @property
    def max_volume_bytes(self) -> int:
        """Largest volume that is allocated."""
        return int(self.thresholds.max_volume_gib * (1 << 30))


class KernelRule(Settings):
    """One row of ``configs/quality/kernels.yaml``."""

    vendor: str
    kernel: str
    kernel_class: KernelClass


class KernelTable(Settings):
    """Kernel names by vendor; the first matching rule decides."""

    format_version: int = 1
    rules: tuple[KernelRule, ...]

    def classify(self, manufacturer: str, kernel: str) -> KernelClass:
        """Sharpness of a kernel as far as the table knows it."""
        for rule in self.rules if kernel.strip() else ():
            vendor_fits = not rule.vendor or re.search(rule.vendor, manufacturer.strip(), re.IGNORECASE)
            if vendor_fits and re.search(rule.kernel, kernel.strip(), re.IGNORECASE):
                return rule.kernel_class
        return KernelClass.UNKNOWN


@lru_cache(maxsize=8)
def load_policy(name_or_path: str = "policy") -> QualityPolicy:
    """The shipped policy, or a site's own YAML file.

    Raises:
        SettingsError: A code is missing or misspelt, or a threshold is out of range.
    """
    return load_settings(QualityPolicy, resolve_config(name_or_path, "quality"))


@lru_cache(maxsize=8)
def load_kernel_table(name_or_path: str = "kernels") -> KernelTable:
    """The shipped kernel table, or a site's own YAML file.

    Raises:
        SettingsError: The file does not hold what it must.
    """
    return load_settings(KernelTable, resolve_config(name_or_path, "quality"))
