"""Synthetic patients with a known truth."""
