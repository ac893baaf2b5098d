"""Scoring images, and the metrics of what was scored."""
