"""From files to tensors: decoding, augmentation, batches, and the checks that come before any of it."""
