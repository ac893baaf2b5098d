"""`aakit shots`: one model scored with memories of more and more normal images, over several draws of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..contracts.reference import NormalScores
from ..data.load_data import Data
from ..data.splits import shot_rank
from ..distributed.available_memory import available_memory
from ..evaluation.evaluator import Counts, ScoreKind, whole
from ..evaluation.histogram import CAPACITY
from ..evaluation.references import Memory, filled
from ..experiment.check import REFERENCE
from .shots_model import ShotsModel, pool_of

Key = tuple[int, int]
"""The seed of a draw, and how many images of it a memory holds."""

Measured = dict[str, Any]
"""What was measured of one class, as plain data: see `new_class`."""

Advance = Callable[[str, int, int, int], None]
"""Called with a class, how many memories it is scored with, how many of its images are done, and of how many."""

MOST_DRAWS: Final = 1_000
"""Draws of a study, each of which is a memory of every number of images."""

SHARE: Final = 4
"""What memories and counts of one walk take is at most this part of the memory that is left."""

_COUNTS: Final = 2 * 2 * 28 * CAPACITY
"""Bytes that the counts of one memory take at most: of it alone and of both together, and as much while they grow."""


@dataclass(frozen=True)
class Draws:
    """Seeds, one a draw, and how many images are remembered, in ascending order; 0, the model alone, goes unsaid."""

    seeds: tuple[int, ...]
    shots: tuple[int, ...]

    @classmethod
    def of(cls, numbers: Iterable[int], draws: int, seed: int) -> "Draws":
        """Check what was asked for; the draws' seeds are the experiment's and those after it. Raises `UserError`."""
        given = list(numbers)
        if wrong := [number for number in given if number < 0]:
            raise UserError(
                f"{wrong[0]} is no number of images", where="--k", fix="give 0, for none, and numbers above"
            )
        if len(set(given)) < len(given):
            twice = next(number for number in given if given.count(number) > 1)
            raise UserError(f"names {twice} twice", where="--k", fix="name each number once")
        if not any(given):
            raise UserError("names no number above 0", where="--k", fix="say how many to remember: --k 0 1 2 4 8")
        if not 1 <= draws <= MOST_DRAWS:
            problem = f"{draws:,} is too {'few' if draws < 1 else 'many'}"
            fix = f"give 1 to {MOST_DRAWS:,}; an interval wants 5"
            raise UserError(problem, where="--draws", fix=fix)
        return cls(tuple(range(seed, seed + draws)), tuple(sorted(number for number in given if number)))

    def check_enough(self, data: Data) -> None:
        """Raise `UserError` where no test class has as many references as the fewest that are asked for."""
        most = max(len(pool_of(data, name)) for name in data.sets["test"].classes)
        if self.shots[0] > most:
            problem = f"asks for {self.shots[0]} images, and no class has more than {most} references"
            raise UserError(problem, where="--k", fix="ask for fewer, or name more of them in [data.reference]")


def new_class(references: int) -> Measured:
    """Return the record of a class with so many references, of which nothing has been measured.

    "zero_shot" becomes the metrics of the model without a memory, "undefined" the reasons of those that have none, and
    "draws" has by seed and by number of images, both as text, the metrics of "memory" and "both".
    """
    return {"references": references, "zero_shot": None, "undefined": {}, "draws": {}}


def measure(
    model: ShotsModel, draws: Draws, classes: dict[str, Measured], keep: Callable[[], None], advance: Advance
) -> None:
    """Add what `classes` lacks of each draw and number of images; `keep` is called whenever something was added.

    The images of a draw are nested, as `shots` are. Of each class the test images walk through the backbone once, for
    all memories together, or as many as a part of the memory that is left can hold.
    """
    for name in model.classes:
        pool = model.pool(name)
        measured = classes.setdefault(name, new_class(len(pool)))
        lacking = _lacking(measured, draws, len(pool))
        walks = _walks(_memories(model, name, pool, lacking), available_memory(model.device.device) // SHARE)
        for memories in walks if lacking else [{}] if measured["zero_shot"] is None else []:
            _add(measured, _counted(model, name, memories, advance))
            keep()


def _lacking(measured: Measured, draws: Draws, pool: int) -> dict[int, list[int]]:
    """Numbers of images, by the seed of a draw, that are not measured and not more than there are."""
    found = {
        seed: [k for k in draws.shots if k <= pool and str(k) not in measured["draws"].get(str(seed), {})]
        for seed in draws.seeds
    }
    return {seed: numbers for seed, numbers in found.items() if numbers}


def drawn(pool: Iterable[Sample], seed: int) -> list[Sample]:
    """Sort normal images of a class by the draw of a seed: its first k are those that `shots = k` draws."""
    return sorted(pool, key=lambda sample: shot_rank(sample.checksums[0], seed))


def _memories(
    model: ShotsModel, name: str, pool: list[Sample], lacking: dict[int, list[int]]
) -> Iterator[dict[Key, Memory]]:
    """The memories of one draw after another; each grows from the smaller one before it."""
    order = {seed: drawn(pool, seed)[: max(numbers)] for seed, numbers in lacking.items()}
    places = {sample: place for place, sample in enumerate(dict.fromkeys(one for of in order.values() for one in of))}
    head = _head_scores(model, name, tuple(places))
    for seed, numbers in lacking.items():
        bank, filled_by, memories = None, 0, dict[Key, Memory]()
        for number in numbers:
            samples = tuple(order[seed][filled_by:number])
            bank = filled(model.evaluator.model, model.device, model.evaluator.pixels, samples, model.workers, bank)
            of = [places[sample] for sample in order[seed][:number]]
            memories[seed, number] = Memory(bank, NormalScores.of(*(scores[of] for scores in head)))
            filled_by = number
        yield memories


def _head_scores(model: ShotsModel, name: str, samples: tuple[Sample, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head alone says of references: grids `[n, G, G]` and image scores `[n]`, in their order."""
    data = replace(model.data.sets[REFERENCE], samples=samples)
    batches = list(model.evaluator.scored_batches(data, name, model.attending, model.is_trained))
    grid, detection = (np.concatenate([getattr(one, of) for one in batches]) for of in ("grid", "detection"))
    return torch.from_numpy(grid), torch.from_numpy(detection)


def _walks(draws: Iterable[dict[Key, Memory]], room: int) -> Iterator[dict[Key, Memory]]:
    """The memories that are asked in one walk: of whole draws, as many as there is room for, and of one at least."""
    together, taken = dict[Key, Memory](), 0
    for memories in draws:
        size = sum(_COUNTS + sum(part.nbytes for part in memory.bank.values()) for memory in memories.values())
        if together and taken + size > room:
            yield together
            together, taken = {}, 0
        together, taken = {**together, **memories}, taken + size
    yield together


Counted = dict[tuple[Key | None, ScoreKind], Counts]


def _counted(model: ShotsModel, name: str, memories: dict[Key, Memory], advance: Advance) -> Counted:
    """Walk through the test images of a class once, and count what each memory makes of them."""
    data, counts, done = model.data.sets["test"], Counted(), 0
    number = sum(sample.class_name == name for sample in data.samples)
    scored = model.evaluator.scored_with_each(data, name, model.attending, model.is_trained, memories)
    for key, kind, batch in scored:
        counts.setdefault((key, kind), Counts.of(model.evaluator.switches, data.domain)).add(batch)
        if key is None:
            advance(name, len(memories), done, number)
            done += len(batch.samples)
    advance(name, len(memories), done, number)
    return counts


def _add(measured: Measured, counted: Counted) -> None:
    for (key, kind), counts in counted.items():
        result = whole([counts]).result()
        if key is None:
            measured["zero_shot"], measured["undefined"] = result.values, result.undefined
        else:
            seed, number = map(str, key)
            measured["draws"].setdefault(seed, {}).setdefault(number, {})[kind] = result.values
