"""The model: two frozen towers walked block by block, the stages between them, heads, prompts and anomaly maps."""
