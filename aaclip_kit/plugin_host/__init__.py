"""Finding plugins, checking what they register, and the registry of their components."""
