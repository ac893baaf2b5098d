"""One phase of training: batches in, losses, steps of the optimizer."""
