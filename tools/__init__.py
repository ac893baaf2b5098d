"""Programs that make what the toolkit ships; they run from a clone and are not installed."""
