"""Deterministic steps of the graph, one per file."""
