"""The only place that builds the preprocessing graph and the augmentation: spec in, MONAI ``Compose`` out."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.transforms.compose import Compose

from data_pipeline.augmentations import AUGMENTATIONS
from data_pipeline.transforms import TRANSFORMS
from data_pipeline.transforms.registry import PointwiseTransform
from domain.batch_keys import ACQUISITION, AFFINE, FINDINGS, VOLUME
from domain.config_files import config_path
from domain.errors import SettingsError, StudyError
from domain.specs import AugmentSpec, PreprocessSpec
from domain.strict_yaml import load_settings
from domain.volume import Volume

TISSUE_MAPS = "tissue_maps"


def build_preprocess(spec: PreprocessSpec, *, device: str = "cpu") -> Compose:
    """Build the deterministic graph of a spec.

    Args:
        spec: Steps in order.
        device: Where the network's image is made; lungs and quantities are always found on the CPU.

    Raises:
        RegistryError: A step or its version is unknown.
        SettingsError: A parameter is misspelt or out of range.
    """
    return Compose(_steps(spec, device))


def _steps(spec: PreprocessSpec, device: str) -> list[Any]:
    """The built steps.

    Raises:
        SettingsError: Tissue maps are shown but not made, or made before their grid is known.
    """
    names = [step.name for step in spec.steps]
    made_at = names.index(TISSUE_MAPS) if TISSUE_MAPS in names else None
    is_shown = any(step.name == "window" and step.params.get("tissue_channels") for step in spec.steps)
    problems = []
    if is_shown and made_at is None:
        problems.append(f"`window` shows tissue channels, which only a step `{TISSUE_MAPS}` before it makes")
    grid = {"resample", "axial_slices", "fit_shape"} & set(names)
    if made_at is not None and (late := {"quantify", *grid} - set(names[:made_at])):
        problems.append(f"step `{TISSUE_MAPS}` must come after {', '.join(sorted(late))}")
    if problems:
        raise SettingsError(f"graph {spec.name!r}", problems)
    return [TRANSFORMS.build(step, device=device) for step in spec.steps]


def split_preprocess(spec: PreprocessSpec, *, device: str = "cpu") -> tuple[Compose, Compose]:
    """The graph in two: what is worth caching, and the cheap voxel-by-voxel steps at its end.

    One after the other they do exactly what ``build_preprocess`` does.
    """
    steps = _steps(spec, device)
    first_pointwise = len(steps)
    while first_pointwise and isinstance(steps[first_pointwise - 1], PointwiseTransform):
        first_pointwise -= 1
    return Compose(steps[:first_pointwise]), Compose(steps[first_pointwise:])


def build_augment(spec: AugmentSpec) -> Compose:
    """Build the random steps of training. They act on a whole batch, on the device the batch is on.

    Raises:
        RegistryError: A step or its version is unknown.
        SettingsError: A parameter is misspelt or out of range.
    """
    return Compose([AUGMENTATIONS.build(step) for step in spec.steps])


def run_graph(compose: Compose, volume: Volume) -> dict[str, Any]:
    """Send one volume through a built graph.

    Args:
        compose: From ``build_preprocess``.
        volume: As read: HU, any axis order.

    Returns:
        Keys as in ``domain.batch_keys``. ``VOLUME`` and ``LUNG_MASK`` are NumPy arrays on the native grid (views of
        the input where possible), ``IMAGE``, ``IMAGE_MASK`` and ``QUANTITATIVE`` are tensors.

    Raises:
        StudyError: A step cannot use this volume.
    """
    data = {
        VOLUME: volume.voxels[None],
        AFFINE: np.array(volume.affine.matrix),
        ACQUISITION: volume.acquisition,
        FINDINGS: list(volume.findings),
    }
    try:
        result: dict[str, Any] = compose(data)
    except RuntimeError as error:
        raise _study_error(error) or error from error
    return result


def quantify_volume(volume: Volume) -> dict[str, Any]:
    """Lungs and quantitative CT without any network: ``QUANTITATIVE_TABLE``, ``LUNG_MASK``, ``FINDINGS``, as above.

    Raises:
        StudyError: ``mask_failed``: no lungs in the volume.
    """
    spec = load_settings(PreprocessSpec, config_path("preprocess/quantify_only.yaml"))
    return run_graph(build_preprocess(spec), volume)


def _study_error(error: BaseException) -> StudyError | None:
    """MONAI wraps what a step raises; find our own error among the causes."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, StudyError):
            return cause
        cause = cause.__cause__
    return None
