"""Names in the dictionary that travels through the graph and in a batch: shape, dtype, unit beside each."""

from __future__ import annotations

VOLUME = "volume"  # (1, I, J, K) int16, HU, RAS+; the source grid
AFFINE = "affine"  # (4, 4) float64, ijk of VOLUME to RAS mm
ACQUISITION = "acquisition"  # domain.volume.Acquisition
FINDINGS = "findings"  # list of domain.findings.Finding, added to by steps
LUNG_MASK = "lung_mask"  # (1, I, J, K) uint8 on the source grid: 0 outside, 1 right lung, 2 left lung
IMAGE = "image"  # (C, I', J', K') float32, about 0..1, the network's input
IMAGE_MASK = "image_mask"  # (1, I', J', K') uint8 0/1, lungs on the network's grid
IMAGE_TISSUE = "image_tissue"  # (T, I', J', K') uint8, percent of a voxel that is a class of quantitative CT; optional
IMAGE_AFFINE = "image_affine"  # (4, 4) float64, ijk of IMAGE to RAS mm
QUANTITATIVE = "quantitative"  # (Q,) float32 in the order of domain.quantities.NETWORK_QUANTITIES, NaN where unknown
QUANTITATIVE_TABLE = "quantitative_table"  # dict: name of domain.quantities -> float, physical units
TISSUE = "tissue"  # data_pipeline.quantitative.TissueMap: classes of every bin of lung, on bins of the source grid
PATTERN_TARGET = "pattern_target"  # (4,) float32, soft label in the order of PATTERNS; NaN for unlabelled
AUXILIARY_TARGET = (
    "auxiliary_target"  # (E,) float32, what readers scored, NaN where unknown: data_pipeline.training_cohort
)
CASE_INDEX = "case_index"  # () int64, row of the case in the cohort
