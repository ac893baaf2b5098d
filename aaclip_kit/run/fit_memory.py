"""Whether a run fits into memory: a step of it is taken with tensors that have shapes and no values."""

import copy
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan, towers_of
from ..data.loader import Batch
from ..distributed.available_memory import available_memory
from ..distributed.out_of_memory import SIDE
from ..training.gradient_norms import trained_groups
from ..training.loop_plans import plan_ahead
from ..training.losses import total
from ..training.phase import Phase
from .assemble import Run, build_phase
from .memory_plan import GB, MemoryPlan, StepNeed, in_gb


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


MARGINS = {"cuda": 0.1, "cpu": 0.2}
"""Share of the free memory that is left alone: for what kernels take inside themselves, and for fragmentation.

Of a CPU's memory more, since the C library keeps pieces that are free, unless blocks are recomputed.
"""


def fit_memory(run: Run, show: bool = False) -> Run:
    """The run with its `MemoryPlan`; vision blocks are recomputed where a step fits into memory so, and only so.

    Where `compute.recompute` is not "auto", that is obeyed, and nothing is looked at unless the plan is to be shown.
    Raises `UserError` where a step does not fit at all.
    """
    choice = run.experiment.file.compute.recompute
    if choice != "auto" and not show:
        return run
    free, recompute = _free(run), choice == "on"
    try:
        kinds = _kinds(run)
        needs = tuple(kind.need(show, free) for kind in kinds)
    except Exception as error:  # a plugin's; the step that meets it again names the plugin and the images
        return replace(run, memory=MemoryPlan((), free, recompute, str(error).partition("\n")[0]))
    if choice == "auto":
        recompute = any(need.kept > free for need in needs if need.recomputed is not None)
        for kind, need in zip(kinds, needs, strict=True):
            if need.bytes(recompute) > free:
                raise _too_little(kind, need, free)
        run.model.image.recompute = recompute
    return replace(run, memory=MemoryPlan(needs, free, recompute))


@dataclass(frozen=True)
class _Kind:
    """One kind of phase: its plan, and the steps of it on a device without values."""

    plan: PhasePlan
    attending: frozenset[TowerName]
    images: int
    beside: int
    """Bytes that are there at every step: weights, the last step's gradients, the optimiser's state, kept features."""
    footprint: Footprint

    def need(self, show: bool, free: int) -> StepNeed:
        """What a step needs; with recompute too where it matters."""
        kept = self.bytes(self.images, False)
        again = self.plan.train != "text" and (show or kept > free)
        return StepNeed(self.plan.train, self.images, kept, self.bytes(self.images, True) if again else None)

    def bytes(self, images: int, recompute: bool) -> int:
        """What a step of so many images needs."""
        build = partial(build_phase, plan=self.plan, loop=1, number=0, attending=self.attending)
        return self.beside + self.footprint.step(build, images, recompute)


def _kinds(run: Run) -> list[_Kind]:
    """The kinds of phase that the scheduler plans: towers and batch sizes, each with the last plan of that kind.

    Every tower that ever attends does so here, since its stages can only add to what a step needs.
    """
    plans = [phase for loop in plan_ahead(run.scheduler) for phase in loop.phases]
    attending = frozenset(tower for plan in plans if plan.attention for tower in towers_of(plan.train))
    footprint = Footprint(run)
    kinds = []
    for plan in {(plan.train, plan.batch_size): plan for plan in plans}.values():
        again = build_phase(run, plan, 1, 0, attending).batches.views_come_again
        groups = trained_groups(run.model, plan.train, attending)
        trained = sum(part.nbytes for group in groups.values() for part in group)
        # Adam keeps two numbers a weight, and the last step's gradient is dropped only when the next one's is made.
        beside = _weights(run) + 3 * trained + _kept_features(run, again)
        kinds.append(_Kind(plan, attending, -(-plan.batch_size // run.ranks.size), beside, footprint))
    return kinds


def _free(run: Run) -> int:
    """Bytes that the run may use; the weights, which are there already, are among them."""
    given = run.experiment.file.compute.memory_gb
    if given is not None:
        return int(given * GB)
    device = run.compute_device.device
    return int((1 - MARGINS[device.type]) * available_memory(device)) + _weights(run)


def _weights(run: Run) -> int:
    return sum(one.nbytes for one in weights_of(run))


def _kept_features(run: Run, views_come_again: bool) -> int:
    """What frozen features take that a run on a CPU keeps there; a run on a device keeps them elsewhere."""
    file, backbone = run.experiment.file, run.model.backbone
    if file.cache.features != "memory" or run.compute_device.device.type != "cpu" or not views_come_again:
        return 0
    views = len(run.data.sets["train"].samples) * max(1, file.augmentation.views)
    reads = run.model.untrained_reads
    width = backbone.embedding_width if reads.projected else backbone.vision.width
    floats = len(run.model.levels) * backbone.grid**2 * width
    return min(int(file.cache.memory_gb * GB), 4 * views * floats)


def _too_little(kind: _Kind, need: StepNeed, free: int) -> UserError:
    most, over = 0, need.images
    vision = need.tower != "text"
    while over - most > 1:
        middle = (most + over) // 2
        most, over = (middle, over) if kind.bytes(middle, vision) <= free else (most, middle)
    fix = f"a batch of at most {most} fits: lower the {need.tower} phase's batch size in [scheduler]"
    if not most:
        fix = f"not even one image fits: use a smaller {SIDE}, or a device with more memory"
    return UserError(f"too little memory: {need}, and {in_gb(free)} GB are free", where="compute", fix=fix)
