"""Experiment files of published methods, and of the head without text."""
