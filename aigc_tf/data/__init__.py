"""Data: where it comes from (packages, builders), its order (pipeline), one file a modality."""
