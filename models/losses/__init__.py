"""Losses, one per file."""

from models.losses.soft_cross_entropy import balanced_class_weights, soft_cross_entropy

__all__ = ["balanced_class_weights", "soft_cross_entropy"]
