"""Experiment files of methods that people compare with."""
