"""Files that are whole or absent, files of weights, and locks on folders."""
