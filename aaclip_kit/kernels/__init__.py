"""Formulas that cost more by the passes over memory than by arithmetic, written out with their gradients."""
