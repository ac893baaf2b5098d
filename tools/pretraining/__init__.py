"""The pretraining of the embedded model, `python -m tools.pretraining`: docs/notebook/embedded-model.md tells of it."""
