"""Registry of random training steps. Deterministic steps have their own registry."""

from __future__ import annotations

from typing import Any

from domain.registry import Registry

AUGMENTATIONS: Registry[Any] = Registry("augmentation")
