"""A run from configuration to checkpoints: the layer that sees all others."""
