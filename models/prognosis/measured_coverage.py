"""How often nominal 90 % bands held the truth, as measured; nominal levels are not promises."""

from __future__ import annotations

import numpy as np

MEASURED_LEVEL = 0.9
# Training patients -> coverage of true one-year survival, synthetic cohorts, docs/benchmarks/prognosis.md
MEASURED: dict[int, float] = {100: 0.88, 300: 0.90, 1000: 0.88}


def measured_coverage(num_patients: int, level: float) -> float | None:
    """Coverage measured for cohorts of about this size; None at a level or size that was not measured.

    Args:
        num_patients: Training patients; between the sizes measured it is interpolated on their logarithm.
        level: Nominal level of the band.
    """
    sizes = sorted(MEASURED)
    if level != MEASURED_LEVEL or not sizes[0] / 2 <= num_patients <= sizes[-1] * 2:
        return None
    values = [MEASURED[size] for size in sizes]
    return round(float(np.interp(np.log(num_patients), np.log(sizes), values)), 2)
