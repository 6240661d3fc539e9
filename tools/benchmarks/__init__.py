"""Contenders of tools/bench, one file for each kind of model."""
