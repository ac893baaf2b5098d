"""Of this one file, for those who may not import the whole package."""

__version__ = "0.1.0"
"""Version of the toolkit."""
