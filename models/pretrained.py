"""Published weights into a backbone: from a file the user names, with its checksum. Nothing is ever fetched."""

from __future__ import annotations

import logging
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - the name of torch's refusal, nothing is unpickled

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from domain.errors import SettingsError
from domain.specs import PretrainedWeights
from models.artefact_format import file_sha256
from models.backbones import Backbone

logger = logging.getLogger(__name__)

# What training frameworks put before a parameter's own name.
PREFIXES = ("module.", "state_dict.", "model.", "network.", "backbone.", "encoder.", "student.", "swin_vit.")
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")


def load_pretrained(backbone: Backbone, weights: PretrainedWeights) -> float:
    """Copy matching parameters into a backbone.

    Args:
        backbone: Changed in place.
        weights: File (``.safetensors``, or a ``.pt``/``.pth`` with nothing but tensors) and its SHA-256.

    Returns:
        Share of the backbone's parameters (by count of numbers) that were found in the file.

    Raises:
        SettingsError: The file is missing, is another than the checksum says, cannot be read without running code,
            or fits less than ``weights.min_share`` of the backbone.
    """
    target = backbone.source if backbone.source is not None else backbone
    own = target.state_dict()
    found = read_tensors(weights)
    matched: dict[str, Tensor] = {}
    for name, value in found.items():
        short = strip_prefixes(name, own)
        if short in own:
            fitted = fit_channels(value, own[short])
            if fitted is not None:
                matched[short] = fitted
    # Parameters of the source that the blocks do not use (a classifier) are not counted.
    used = {id(value) for value in backbone.parameters()} | {id(value) for value in backbone.buffers()}
    counted = {name: value.numel() for name, value in target.state_dict(keep_vars=True).items() if id(value) in used}
    share = sum(counted[name] for name in matched if name in counted) / max(sum(counted.values()), 1)
    if share < weights.min_share:
        raise SettingsError(
            weights.path,
            [
                f"only {share:.0%} of the backbone's weights are in this file, at least {weights.min_share:.0%} are "
                f"wanted; its names begin {', '.join(list(found)[:3])}, the backbone's {', '.join(list(own)[:3])}"
            ],
        )
    target.load_state_dict(matched, strict=False)
    logger.info("%.0f %% of the backbone's weights taken from %s", 100 * share, weights.path)
    return float(share)


def read_tensors(weights: PretrainedWeights) -> dict[str, Tensor]:
    """All tensors of a file by name.

    Raises:
        SettingsError: See ``load_pretrained``.
    """
    path = Path(weights.path)
    if not path.is_file():
        raise SettingsError(path, ["no such file; weights are never downloaded, put them there yourself"])
    digest = file_sha256(path)
    if digest != weights.sha256.lower():
        raise SettingsError(path, [f"SHA-256 is {digest}, the settings say {weights.sha256}"])
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only: a pickle that holds anything but tensors is refused before it can run.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, UnpicklingError) as error:
        raise SettingsError(path, [f"cannot be read as plain tensors: {str(error).splitlines()[0]}"]) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise SettingsError(path, ["holds no table of tensors"])
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def strip_prefixes(name: str, own: dict[str, Tensor]) -> str:
    """The name without what frameworks put before it."""
    while name not in own:
        prefix = next((candidate for candidate in PREFIXES if name.startswith(candidate)), None)
        if prefix is None:
            break
        name = name.removeprefix(prefix)
    return name


def fit_channels(value: Tensor, own: Tensor) -> Tensor | None:
    """The value where shapes agree; a first convolution's input channels are averaged and repeated to ours.

    The sum over channels stays the same, so that an image whose channels are alike excites it as before.
    """
    if value.shape == own.shape:
        return value
    is_convolution = value.ndim == own.ndim >= 4
    if is_convolution and value.shape[0] == own.shape[0] and value.shape[2:] == own.shape[2:]:
        mean = value.float().sum(dim=1, keepdim=True) / own.shape[1]
        return mean.expand_as(own).to(own.dtype)
    return None
