"""Gradient dilution, measured in pairs."""
