"""The pretraining of the embedded model: `python -m tools.pretraining`; docs/embedded-model.md describes it."""
