"""Test images that a report shows, and where the stages of the model look on them."""
