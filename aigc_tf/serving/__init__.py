"""Exports that TF Serving loads: SavedModel, audit, verification, warm-up, deployment files."""
