"""Typed results to files. Imports only `domain`; no torch."""
