"""From tensors to predictions. Never builds a transform. Imports only `domain`."""
