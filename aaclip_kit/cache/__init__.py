"""The store of frozen features: what an untrained backbone makes of a view of an image is made once and used again."""
