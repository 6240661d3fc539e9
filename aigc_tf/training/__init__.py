"""The training loop and its parts: checkpoints, averaged weights, TensorBoard, health."""
