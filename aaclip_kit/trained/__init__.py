"""A trained model: its checkpoint, its thresholds, and its use."""
