"""Checkpoints: trained weights, where they come from, their thresholds, and the published layout."""
