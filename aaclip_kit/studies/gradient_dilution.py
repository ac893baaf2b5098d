"""Paired ratios of gradient norms, with bootstrap intervals."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan
from ..data.loader import Batch
from ..distributed.compute_device import ComputeDevice
from ..experiment import Experiment
from ..record.run_folder import finite
from ..run.assemble import Run, assemble
from ..run.phases import build_phase
from ..training.gradient_norms import norms
from ..training.loop_plans import attending_after, plan_ahead
from ..training.losses import total
from ..training.phase import FixedInputs, Phase
from .stand_ins import Setting, Subject, all_off, standing_in, subjects_of, unvaried, variant

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of on / off over all pairs, its 95 % interval, and the same of each initialisation.

    None where it is not defined: an "off" of 0, a value that is not finite, and the interval of a single pair.
    """

    value: float | None
    low: float | None
    high: float | None
    by_init: tuple[float | None, ...]


def paired_ratio(on: Float[np.ndarray, "inits batches"], off: Float[np.ndarray, "inits batches"]) -> Ratio:
    """The ratio of two measurements of the same batches with the same weights.

    The geometric mean, since it does not matter to it which of the two is the denominator. The interval resamples
    clusters: initialisations with replacement, then the batches of each (Davison and Hinkley, Bootstrap Methods,
    1997, section 3.8); with few initialisations it is too narrow rather than too wide.
    """
    inits = len(on)
    if not (np.isfinite(on).all() and np.isfinite(off).all() and (off > 0).all()):
        return Ratio(None, None, None, (None,) * inits)
    with np.errstate(divide="ignore"):  # a gradient of 0 is a ratio of 0
        logs = np.log(on / off)
    by_init = tuple(np.exp(logs.mean(axis=1)).tolist())
    value = float(np.exp(logs.mean()))
    if logs.size < 2:
        return Ratio(value, None, None, by_init)
    means = np.exp(logs[_resampled(*logs.shape)].mean(axis=(1, 2)))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Ratio(value, low, high, by_init)


def _resampled(inits: int, batches: int) -> tuple[Int[np.ndarray, "R inits 1"], Int[np.ndarray, "R inits batches"]]:
    """Indices of every resample; the same for every ratio, so that intervals of one table belong together."""
    random = np.random.default_rng(0)
    chosen = random.integers(inits, size=(RESAMPLES, inits, 1))
    return chosen, random.integers(batches, size=(RESAMPLES, inits, batches))


ALL = "all"
"""Name of the norm over all adapters of a tower."""

Norms = dict[str, float]
"""Gradient norm of each adapter, NAME.BLOCK, and of all of them together."""


@dataclass(frozen=True)
class Opening:
    """The phase in which a tower is measured, and the towers whose cross-attention acts in it."""

    loop: int
    number: int
    plan: PhasePlan
    attending: frozenset[TowerName]


@dataclass
class Dilution:
    """All that was measured: norms by [initialisation][batch], on for each setting, off for each tower."""

    experiment: Experiment
    seeds: tuple[int, ...]
    on: dict[tuple[Subject, Setting], list[list[Norms]]]
    off: dict[TowerName, list[list[Norms]]]
    openings: dict[TowerName, Opening]
    unvaried: tuple[str, ...]
    """Options that stages lack (NAME.scale, NAME.norm_matched), so that they were measured as they are."""
    fresh_stages: tuple[str, ...] | None
    """Stages that the [init] checkpoint lacked; None without a checkpoint."""

    def ratios(self, subject: Subject, setting: Setting) -> dict[str, Ratio]:
        """On / off for each adapter and for all of them."""
        on, off = self.on[subject, setting], self.off[subject.tower]
        return {name: paired_ratio(table(on, name), table(off, name)) for name in on[0][0]}


def measure_dilution(
    experiment: Experiment,
    scales: Sequence[float],
    batches: int,
    inits: int,
    advance: Callable[[int, int], None] = lambda done, whole: None,
) -> Dilution:
    """Gradient norms of every adapter, each cross-attention stage on and off, in every setting.

    Initialisation i is what a run with the experiment's seed + i starts from, and its batches are those that this run
    would draw first. Measured in float32, whatever the experiment's precision. Raises `UserError` where there is
    nothing to measure, for a scale that a stage does not take, and for whatever `assemble` refuses.
    """
    seeds = tuple(experiment.file.seed + number for number in range(inits))
    found = Dilution(experiment, seeds, {}, {}, {}, (), None)
    done = count(1)
    for seed in seeds:
        run = _assembled(experiment, seed)
        subjects = subjects_of(run, scales)
        found.openings = {tower: _opening(run, tower) for tower in dict.fromkeys(one.tower for one in subjects)}
        found.fresh_stages = run.fresh_stages
        found.unvaried = tuple(dict.fromkeys(chain(*(unvaried(run, subject) for subject in subjects))))
        whole = inits * batches * (len(found.openings) + sum(len(subject.settings) for subject in subjects))
        device = run.compute_device.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for tower in found.openings:
                own = [subject for subject in subjects if subject.tower == tower]
                for _ in _measure_tower(found, run, tower, own, batches):
                    advance(next(done), whole)
    return found


def table(norms_of: list[list[Norms]], name: str) -> Float[np.ndarray, "inits batches"]:
    """The norms of one adapter, or of all of them."""
    return np.array([[batch[name] for batch in batches] for batches in norms_of])


def _assembled(experiment: Experiment, seed: int) -> Run:
    run = assemble(replace(experiment, file=experiment.file.model_copy(update={"seed": seed})))
    return replace(run, compute_device=ComputeDevice(run.compute_device.device, "fp32"))


def _opening(run: Run, tower: TowerName) -> Opening:
    """The first phase of the tower with its cross-attention on; where that is never on, the first, with it on."""
    attending: frozenset[TowerName] = frozenset()
    found: list[Opening] = []
    for loop, plan in enumerate(plan_ahead(run.scheduler), 1):
        for number, phase in enumerate(plan.phases):
            attending = attending_after(phase, attending)
            if phase.train == tower:
                found.append(Opening(loop, number, phase, attending | {tower}))
    if not found:
        problem = f"no loop trains the {tower} tower, whose cross-attention is to be measured"
        raise UserError(problem, where="scheduler", fix="use a scheduler with a phase for it")
    return next((opening for opening in found if opening.plan.attention), found[0])


def _measure_tower(
    found: Dilution, run: Run, tower: TowerName, subjects: list[Subject], batches: int
) -> Iterator[None]:
    """Add one initialisation: every batch without cross-attention, then in every setting. Yields after each."""
    opening = found.openings[tower]
    phase = build_phase(run, opening.plan, opening.loop, opening.number, opening.attending)
    pairs = [(subject, setting) for subject in subjects for setting in subject.settings]
    off = found.off.setdefault(tower, [])
    off.append([])
    for pair in pairs:
        found.on.setdefault(pair, []).append([])
    with phase.open():
        nothing = all_off(run, tower)
        variants = {pair: variant(run, *pair) for pair in pairs}
        for stream, batch in enumerate(islice(_epochs(phase), batches)):
            batch = batch.to(run.compute_device.device)
            fixed = phase.fixed_inputs(batch)
            with standing_in(run, tower, nothing, None):
                off[-1].append(_norms(run, phase, batch, fixed, stream))
            yield
            for pair, stages in variants.items():
                with standing_in(run, tower, stages, pair[1].text_context):
                    found.on[pair][-1].append(_norms(run, phase, batch, fixed, stream))
                yield


def _epochs(phase: Phase) -> Iterator[Batch]:
    """Batches of one epoch after the other, without end."""
    return chain.from_iterable(phase.batches.epoch(number) for number in count(1))


def _norms(run: Run, phase: Phase, batch: Batch, fixed: FixedInputs, stream: int) -> Norms:
    """Gradient norms of the tower's adapters; `stream` seeds the dropout."""
    adapters = {
        f"{name}.{block}": list(stage.parameters())
        for block, name, stage in run.model.slots.of(phase.plan.train)
        if stage.context_kind == "none"
    }
    torch.manual_seed(stream)
    parameters = list(chain(*adapters.values()))
    gradients = iter(torch.autograd.grad(total(phase.terms(batch, fixed)), parameters, allow_unused=True))
    found = norms({name: list(islice(gradients, len(group))) for name, group in adapters.items()})
    return {ALL: math.hypot(*found.values()), **found}


def as_record(found: Dilution) -> dict[str, Any]:
    """Everything as plain data, for JSON: setting by setting, with every norm, [initialisation][batch]."""
    file = found.experiment.file
    return {
        "experiment": file.name,
        "checkpoint": None if file.init.checkpoint is None else str(file.init.checkpoint),
        "fresh_stages": None if found.fresh_stages is None else list(found.fresh_stages),
        "seeds": list(found.seeds),
        "dropout": file.switches.dropout,
        "unvaried": list(found.unvaried),
        "interval": f"{LEVEL:.0%} bootstrap of {RESAMPLES}: initialisations, then the batches of each",
        "towers": {tower: _tower_record(found, tower) for tower in found.off},
        "measured": [_pair_record(found, subject, setting) for subject, setting in found.on],
    }


def _tower_record(found: Dilution, tower: TowerName) -> dict[str, Any]:
    opening = found.openings[tower]
    plan, off = opening.plan, found.off[tower]
    phase = {"loop": opening.loop, "batch_size": plan.batch_size, "features": plan.features}
    return {**phase, "off": {name: finite(table(off, name).tolist()) for name in off[0][0]}}


def _pair_record(found: Dilution, subject: Subject, setting: Setting) -> dict[str, Any]:
    on = found.on[subject, setting]
    return {
        "tower": subject.tower,
        "stages": list(subject.stages),
        **asdict(setting),
        "as_in_file": setting == subject.own,
        "ratio": {name: asdict(ratio) for name, ratio in found.ratios(subject, setting).items()},
        "on": {name: finite(table(on, name).tolist()) for name in on[0][0]},
    }
