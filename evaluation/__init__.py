"""Predictions and outcomes to numbers, in numpy. Imports only `domain`; no torch."""

from evaluation.evaluate_predictions import EvaluationContext, default_context, evaluate

__all__ = ["EvaluationContext", "default_context", "evaluate"]
