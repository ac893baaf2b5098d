"""Measurements beside training: what cross-attention does to the adapters' gradient."""
