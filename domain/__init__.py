"""The words of the project: plain types and vocabularies. Imports nothing of ours, no torch, no MONAI."""
