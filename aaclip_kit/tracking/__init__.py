"""Trackers: what a run writes down, sent on while it goes, or afterwards."""
