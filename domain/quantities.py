"""Names of quantitative CT measures, their units, and which of them a network may see. Definitions: docs."""

from __future__ import annotations

# The contract's columns, percent of lung volume.
GGO_PERCENT = "ggo_percent"
CONSOLIDATION_PERCENT = "consolidation_percent"
RETICULATION_PERCENT = "reticulation_percent"
HIGH_ATTENUATION_PERCENT = "high_attenuation_percent"

TABLE_QUANTITIES: tuple[str, ...] = (
    GGO_PERCENT,
    CONSOLIDATION_PERCENT,
    RETICULATION_PERCENT,
    HIGH_ATTENUATION_PERCENT,
)

# What a hybrid network and the prognostic head see, in this order; the list only grows at the end.
NETWORK_QUANTITIES: tuple[str, ...] = (
    GGO_PERCENT,
    CONSOLIDATION_PERCENT,
    RETICULATION_PERCENT,
    HIGH_ATTENUATION_PERCENT,
    "low_attenuation_percent",
    "lung_volume_ml",
    "mean_lung_density_hu",
    "density_p10_hu",
    "density_p50_hu",
    "density_p90_hu",
    "ggo_basal_share",
    "ggo_peripheral_share",
    "ggo_symmetry",
    "consolidation_basal_share",
    "consolidation_peripheral_share",
    "consolidation_patchiness",
    "subpleural_sparing_index",
    "reticulation_basal_share",
    "honeycombing_percent",
)

# What readers may have scored, percent of lung volume: optional columns of the case table, used in training only.
READER_EXTENTS: tuple[str, ...] = (
    "extent_ggo_percent",
    "extent_reticulation_percent",
    "extent_consolidation_percent",
    "extent_honeycombing_percent",
)

# Columns of any name that begin so hold a reader's ordinal grade, in whole numbers from 0: training only.
GRADE_PREFIX = "grade_"
