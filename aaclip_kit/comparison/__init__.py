"""Runs against runs: series of seeds, ablations, and what their paired differences show."""
