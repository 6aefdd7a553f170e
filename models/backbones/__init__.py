"""Backbones of the pattern network, one per file."""
