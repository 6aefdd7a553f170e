"""Synthetic patients, ingestion, preprocessing: from files to tensors. Never sees weights. Imports only `domain`."""
