"""Assembly, the detector, and the one run loop."""
