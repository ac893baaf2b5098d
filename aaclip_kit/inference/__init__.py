"""A trained model in use: scores, decisions and maps of new images."""
