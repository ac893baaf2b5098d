"""Whether what runs is being written down as a program, for any number of images."""

import torch

CAN_EXPORT = hasattr(torch.compiler, "is_exporting")
"""torch before 2.7 does not tell."""


def is_exporting() -> bool:
    """Whether torch.export is tracing: then nothing may go by how many images there are."""
    return CAN_EXPORT and torch.compiler.is_exporting()
