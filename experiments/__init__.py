"""The experiment files that come with the toolkit; `aakit init` writes them out."""
