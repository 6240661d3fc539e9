"""What models, data and metrics share."""
