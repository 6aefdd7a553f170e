"""The antibody-aware prognostic head."""
