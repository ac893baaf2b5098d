"""What a training step takes of memory, found by taking it with tensors that have shapes and no values."""

import copy
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..data.loader import Batch
from ..training.losses import total
from ..training.phase import Phase
from .assemble import Run


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make and that somebody still holds, autograd included.

    `peak` is the most that were held at once, in bytes, beside the tensors that were `there` before. What a kernel
    takes inside itself is not seen.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: dict[int, int] = {}
        self._there = {one.untyped_storage()._cdata for one in there}  # an operation's result may be a view of these

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation; count what is new in its result."""
        out = func(*args, **(kwargs or {}))
        for one in [out] if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._held and key not in self._there:
            self._held[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key).atexit = False

    def _forget(self, key: int) -> None:
        self.now -= self._held.pop(key)


class Footprint:
    """Steps of a run's phases on a copy of its model and losses that has no values.

    No number is computed, no random number is drawn, and what a plugin keeps from one call to the next it keeps in the
    copy. Raises whatever a plugin raises whose work depends on the values of tensors.
    """

    def __init__(self, run: Run) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        without_values = {id(one): self._mode.from_tensor(one) for one in weights_of(run)}
        model, losses = copy.deepcopy((run.model, run.losses), without_values)
        self._run = replace(run, model=model, losses=losses)

    def step(self, build: Callable[[Run], Phase], images: int, recompute: bool) -> int:
        """Peak bytes of one step over so many images, beyond weights, gradients and the optimiser's state."""
        self._run.model.image.recompute = recompute
        phase, live = build(self._run), LiveBytes(weights_of(self._run))
        with self._mode, live, phase.open() as parameters:
            batch = _widest_batch(self._run, images)
            loss = total(phase.terms(batch, phase.fixed_inputs(batch)))
            trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
            torch.autograd.grad(loss, trained, allow_unused=True)
        return live.peak


def weights_of(run: Run) -> tuple[Tensor, ...]:
    """Every parameter and buffer of the model, the frozen ones included."""
    return (*run.model.parameters(), *run.model.buffers())


def _widest_batch(run: Run, images: int) -> Batch:
    """A batch with as many different classes as a batch of so many images can have."""
    device, size = run.compute_device.device, run.pixels.size
    one_a_class = {sample.class_name: sample for sample in run.data.sets["train"].samples}
    samples = tuple(islice(cycle(one_a_class.values()), images))
    pixels, masks = (torch.zeros(images, channels, size, size, device=device) for channels in (3, 1))
    return Batch(pixels, masks, torch.zeros(images, dtype=torch.long, device=device), samples)
