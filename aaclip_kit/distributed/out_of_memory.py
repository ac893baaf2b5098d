"""Memory that runs out, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..contracts.errors import UserError

SIDE = "backbone.image_size"
"""The key that every need of memory grows with."""

_SAID = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory: Python's, torch's on a device, or torch's on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


@contextmanager
def explaining_out_of_memory(doing: str, fix: str) -> Iterator[None]:
    """Memory that runs out in here is a `UserError` that says during what, and how to `fix` it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"memory ran out {doing}", where="memory", fix=fix) from error
