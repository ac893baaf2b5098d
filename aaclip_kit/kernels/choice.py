"""Whether the norm-matched residual is the fused kernel: chosen for a while, for all that runs meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A context variable rather than a thread-local one: torch.compile guards on its value, or stops compiling there.
_FUSED: ContextVar[bool] = ContextVar("fused_residual", default=False)


@contextmanager
def fused_residual(on: bool) -> Iterator[None]:
    """Within this, in this thread, `norm_matched_residual` is the fused kernel, or is not."""
    before = _FUSED.set(on)
    try:
        yield
    finally:
        _FUSED.reset(before)


def fused_is_on() -> bool:
    """Whether the fused kernel is chosen here."""
    return _FUSED.get()
