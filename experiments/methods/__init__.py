"""Experiment files of published methods."""
