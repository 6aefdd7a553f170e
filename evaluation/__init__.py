"""Predictions and outcomes to numbers, in numpy. Imports only `domain`; no torch."""
