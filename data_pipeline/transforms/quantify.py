"""Add quantitative CT: the table in physical units, the vector a network may see, the map behind both."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.transforms.transform import Transform

from data_pipeline.quantitative import quantify
from data_pipeline.transforms.registry import TRANSFORMS, NoParams
from domain.affine import Affine
from domain.batch_keys import AFFINE, LUNG_MASK, QUANTITATIVE, QUANTITATIVE_TABLE, TISSUE, VOLUME
from domain.quantities import NETWORK_QUANTITIES


class Quantify(Transform):
    """``QUANTITATIVE_TABLE``, ``QUANTITATIVE`` and ``TISSUE``, measured on the native grid inside ``LUNG_MASK``."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Measure an RAS volume with its lung mask."""
        table, tissue = quantify(data[VOLUME][0], data[LUNG_MASK][0], Affine(data[AFFINE]).spacing_mm)
        vector = [table.get(name, math.nan) for name in NETWORK_QUANTITIES]
        measures = torch.tensor(vector, dtype=torch.float32)
        return data | {QUANTITATIVE_TABLE: table, QUANTITATIVE: measures, TISSUE: tissue}


@TRANSFORMS.register("quantify", version=2, params=NoParams)
def build_quantify(params: NoParams, *, device: str) -> Quantify:
    """Quantitative CT, on the CPU."""
    return Quantify()
