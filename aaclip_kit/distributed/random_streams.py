"""Random streams by name: what one thing draws depends on the seed and its own name, never on who else draws."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256

import torch
from torch import Tensor


def random_state(device: torch.device) -> Tensor:
    """The state of the random stream that a phase draws from on `device`, but for what has a stream of its own."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Go on with that stream from a state."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def drawn_for(*names: object, device: torch.device | None = None) -> Iterator[None]:
    """For a while, draw from the stream of these names, the seed among them, on the CPU and on `device`.

    Afterwards everybody else draws on as if nothing had been drawn.
    """
    # Not torch.manual_seed, which asks every device of the machine.
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]
    digest = sha256("\0".join(map(str, names)).encode("utf-8", errors="backslashreplace")).digest()
    for generator in generators:
        generator.manual_seed(int.from_bytes(digest[:8]) >> 1)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


@dataclass(frozen=True)
class _Step:
    names: tuple[object, ...]
    device: torch.device
    times: Counter[tuple[object, ...]] = field(default_factory=Counter)
    """How often each has drawn."""


_STEP: ContextVar[_Step | None] = ContextVar("step", default=None)


@contextmanager
def step_draws(*names: object, device: torch.device) -> Iterator[None]:
    """Within this, what draws by `own_draws` has a stream of its own in the step that `names` name."""
    before = _STEP.set(_Step(names, device))
    try:
        yield
    finally:
        _STEP.reset(before)


def own_draws(*names: object) -> AbstractContextManager[None]:
    """Return a context with the stream of these names in the present step, another each time; outside a step, nothing.

    So a stage or a loss that is added, left out or renamed moves no other's draws.
    """
    step = _STEP.get()
    if step is None:
        return nullcontext()
    step.times[names] += 1
    return drawn_for(*step.names, *names, step.times[names], device=step.device)
