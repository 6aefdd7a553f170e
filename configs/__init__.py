"""Shipped YAML: vocabularies, endpoints, preprocessing and training settings. No code."""
