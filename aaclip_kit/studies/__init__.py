"""Measurements beside training: what cross-attention does to the gradient, what references add to the scores."""
