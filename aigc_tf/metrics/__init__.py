"""Metrics: pure functions on arrays, one file a modality, each value with a signature."""
