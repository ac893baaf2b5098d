"""A trained model as others get it: its files without this machine's places, and its card."""
