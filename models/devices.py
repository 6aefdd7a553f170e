"""Where and in which precision a network runs. Settings are not parsed here."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from domain.errors import SettingsError


def resolve_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        SettingsError: CUDA is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError("device", [f"{name!r} was asked for, but torch {torch.__version__} finds no CUDA device"])
    return torch.device(name)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 for convolutions and products on CUDA, where it is twice as fast; nothing on CPU."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network, its weights into channels-last memory: convolutions are fastest so, on CPU and GPU alike."""
    return channels_last_weights(network.to(device))


def channels_last_weights(network: nn.Module) -> nn.Module:
    """Lay out the weights of 3D and 2D convolutions for images in channels-last memory; in place.

    By hand, because ``Module.to`` fails on a network that has both in some versions of torch (seen in 2.11).
    """
    formats = {5: torch.channels_last_3d, 4: torch.channels_last}
    for weight in network.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])
    return network


def channels_last(image: Tensor) -> Tensor:
    """The same image (B, C, I, J, K) in channels-last memory."""
    return image.contiguous(memory_format=torch.channels_last_3d)
