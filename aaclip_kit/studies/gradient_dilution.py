"""`aakit gradients`: paired ratios of gradient norms with bootstrap intervals, their record, plot and folder."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from itertools import chain, count, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from jaxtyping import Float

from ..contracts.errors import UserError, writing
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan, towers_of
from ..data.loader import Batch
from ..distributed.compute_device import ComputeDevice
from ..distributed.random_streams import step_draws
from ..experiment import Experiment
from ..files.whole_file import write_whole_folder
from ..record.run_folder import EXPERIMENT, finite
from ..run.assemble import Run, assemble, build_phase
from ..training.gradient_norms import norms
from ..training.loop_plans import attending_after, plan_ahead, stream_number
from ..training.losses import total
from ..training.phase import FixedInputs, Phase
from .stand_ins import Setting, Subject, all_off, standing_in, subjects_of, unvaried, variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 2000
LEVEL = 0.95

NUMBERS: Final = "gradients.json"
PLOT: Final = "gradients.svg"

REPORTED: Final = {1.0: 0.37, 0.1: 0.96}
"""Scale to the ratio reported for the image adapters, from unpaired runs (method: section 4)."""

_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_MARKERS: Final = ("o", "s", "^", "D")
"""Four of the colours of Okabe and Ito, which colour-blind readers can tell apart; each has a marker of its own."""

Measured = Mapping[str, Any]


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
    # The same resamples for every ratio, so that intervals of one table belong together.
    random = np.random.default_rng(0)
    chosen = random.integers(inits, size=(RESAMPLES, inits, 1))
    resampled = logs[chosen, random.integers(logs.shape[1], size=(RESAMPLES, *logs.shape))]
    means = np.exp(resampled.mean(axis=(1, 2)))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Ratio(value, low, high, by_init)


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
    _: KW_ONLY
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
    *,
    batches: int,
    inits: int,
    advance: Callable[[int, int], None] = lambda done, whole: None,
) -> Dilution:
    """Measure gradient norms of every adapter, each cross-attention stage on and off, in every setting.

    Initialisation i is what a run with the experiment's seed + i starts from, and its batches are those that this run
    would draw first. Measured in float32, whatever the experiment's precision. Raises `UserError` where there is
    nothing to measure, for a scale that a stage does not take, and for whatever `assemble` refuses.
    """
    seeds = tuple(range(experiment.file.seed, experiment.file.seed + inits))
    dilution = Dilution(experiment, seeds, on={}, off={}, openings={}, unvaried=(), fresh_stages=None)
    done = count(1)
    for seed in seeds:
        run = assemble(replace(experiment, file=experiment.file.model_copy(update={"seed": seed})))
        run = replace(run, compute_device=ComputeDevice(run.compute_device.device, "fp32"))
        subjects = subjects_of(run, scales)
        dilution.openings = {tower: _opening(run, tower) for tower in dict.fromkeys(one.tower for one in subjects)}
        dilution.fresh_stages = run.fresh_stages
        dilution.unvaried = tuple(dict.fromkeys(chain(*(unvaried(run, subject) for subject in subjects))))
        whole = inits * batches * (len(dilution.openings) + sum(len(subject.settings) for subject in subjects))
        for tower in dilution.openings:
            own = [subject for subject in subjects if subject.tower == tower]
            for _ in _measure_tower(dilution, run, tower, own, batches=batches):
                advance(next(done), whole)
    return dilution


def table(norms_of: list[list[Norms]], name: str) -> Float[np.ndarray, "inits batches"]:
    """The norms of one adapter, or of all of them."""
    return np.array([[batch[name] for batch in batches] for batches in norms_of])


def _opening(run: Run, tower: TowerName) -> Opening:
    """The first phase of the tower with its cross-attention on; where that is never on, the first, with it on."""
    attending: frozenset[TowerName] = frozenset()
    openings: list[Opening] = []
    for loop, plan in enumerate(plan_ahead(run.scheduler), 1):
        for number, phase in enumerate(plan.phases):
            attending = attending_after(phase, attending)
            if phase.train == tower:
                stream = stream_number(plan.phases, number)
                openings.append(Opening(loop, stream, phase, attending | {tower}))
    if not openings:
        problem = f"no loop trains the {tower} tower, whose cross-attention is to be measured"
        raise UserError(problem, where="scheduler", fix="use a scheduler with a phase for it")
    return next((opening for opening in openings if opening.plan.attention), openings[0])


def _measure_tower(
    dilution: Dilution, run: Run, tower: TowerName, subjects: list[Subject], *, batches: int
) -> Iterator[None]:
    """Add one initialisation: every batch without cross-attention, then in every setting. Yields after each."""
    opening = dilution.openings[tower]
    phase = build_phase(run, opening.plan, opening.loop, opening.number, opening.attending)
    pairs = [(subject, setting) for subject in subjects for setting in subject.settings]
    off = dilution.off.setdefault(tower, [])
    off.append([])
    for pair in pairs:
        dilution.on.setdefault(pair, []).append([])
    with phase.open():
        nothing = all_off(run, tower)
        variants = {pair: variant(run, *pair) for pair in pairs}
        endless = chain.from_iterable(map(phase.batches.epoch, count(1)))
        for stream, batch in enumerate(islice(endless, batches)):
            batch = batch.to(run.compute_device.device)
            fixed = phase.fixed_inputs(batch)
            with standing_in(run, tower, nothing, None):
                off[-1].append(_norms(run, phase, batch, fixed, stream=stream))
            yield
            for pair, stages in variants.items():
                with standing_in(run, tower, stages, pair[1].text_context):
                    dilution.on[pair][-1].append(_norms(run, phase, batch, fixed, stream=stream))
                yield


def _norms(run: Run, phase: Phase, batch: Batch, fixed: FixedInputs, *, stream: int) -> Norms:
    """Gradient norms of the tower's adapters; `stream` names the dropout, for each stage its own."""
    adapters = {
        f"{name}.{block}": list(stage.parameters())
        for tower in towers_of(phase.plan.train)
        for block, name, stage in run.model.slots.of(tower)
        if stage.context_kind == "none"
    }
    parameters = list(chain(*adapters.values()))
    with step_draws("gradients", stream, device=run.compute_device.device):
        objective = total(phase.terms(batch, fixed))
    gradients = iter(torch.autograd.grad(objective, parameters, allow_unused=True))
    of_adapters = norms({name: list(islice(gradients, len(group))) for name, group in adapters.items()})
    return {ALL: math.hypot(*of_adapters.values()), **of_adapters}


def as_record(dilution: Dilution) -> dict[str, Any]:
    """Everything as plain data, for JSON: setting by setting, with every norm, [initialisation][batch]."""
    file = dilution.experiment.file
    return {
        "experiment": file.name,
        "checkpoint": None if file.init.checkpoint is None else str(file.init.checkpoint),
        "fresh_stages": None if dilution.fresh_stages is None else list(dilution.fresh_stages),
        "seeds": list(dilution.seeds),
        "dropout": file.switches.dropout,
        "unvaried": list(dilution.unvaried),
        "interval": f"{LEVEL:.0%} bootstrap of {RESAMPLES}: initialisations, then the batches of each",
        "towers": {tower: _tower_record(dilution, tower) for tower in dilution.off},
        "measured": [_pair_record(dilution, subject, setting) for subject, setting in dilution.on],
    }


def _tower_record(dilution: Dilution, tower: TowerName) -> dict[str, Any]:
    loop, plan, off = dilution.openings[tower].loop, dilution.openings[tower].plan, _finite(dilution.off[tower])
    return {"loop": loop, "batch_size": plan.batch_size, "features": plan.features, "off": off}


def _pair_record(dilution: Dilution, subject: Subject, setting: Setting) -> dict[str, Any]:
    return {
        "tower": subject.tower,
        "stages": list(subject.stages),
        **asdict(setting),
        "as_in_file": setting == subject.own,
        "ratio": {name: asdict(ratio) for name, ratio in dilution.ratios(subject, setting).items()},
        "on": _finite(dilution.on[subject, setting]),
    }


def _finite(norms_of: list[list[Norms]]) -> dict[str, Any]:
    return {name: finite(table(norms_of, name).tolist()) for name in norms_of[0][0]}


def write_dilution(folder: Path, record: Mapping[str, Any], experiment: str) -> None:
    """Write numbers, plot and experiment (TOML text) into a new folder, which is whole or absent.

    Raises `UserError` where it cannot be written.
    """
    numbers = json.dumps(record, indent=1, allow_nan=False) + "\n"
    texts = {NUMBERS: numbers, PLOT: dilution_svg(record), EXPERIMENT: experiment}
    with writing(folder):
        write_whole_folder(folder, {PurePosixPath(name): text.encode("utf-8") for name, text in texts.items()})


def dilution_svg(record: Mapping[str, Any]) -> str:
    """Draw ratio against scale as an `<svg>` document: a panel for each subject, a line for each other setting."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels: dict[tuple[str, ...], list[Measured]] = {}
    for measured in record["measured"]:
        panels.setdefault((measured["tower"], *measured["stages"]), []).append(measured)
    with mpl.rc_context({"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(5.4 * len(panels), 4.2), layout="constrained")
        for place, ((tower, *stages), rows) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), place)
            axes.set_title(f"{' + '.join(stages)}, {tower} tower")
            _draw(axes, rows, tower)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _draw(axes: "Axes", rows: Sequence[Measured], tower: str) -> None:
    axes.axhline(1.0, color="0.4", linewidth=1)
    lines: dict[str, list[Measured]] = {}
    for row in rows:
        if row["ratio"]["all"]["value"] is not None:
            lines.setdefault(_line_label(row), []).append(row)
    for number, (label, line) in enumerate(lines.items()):
        colour, marker = _COLOURS[number % 4], _MARKERS[number % 4]
        line = sorted(line, key=lambda row: row["scale"] or 0.0)
        # The scale, 1 for a stage without one, moved a little so that intervals of several lines lie side by side.
        aside = 1.06 ** (number - (len(lines) - 1) / 2)
        scales = [(1.0 if row["scale"] is None else float(row["scale"])) * aside for row in line]
        ratios = [row["ratio"]["all"] for row in line]
        values = [one["value"] for one in ratios]
        axes.errorbar(scales, values, _reach(ratios), label=label, color=colour, marker=marker, capsize=3)
    if tower == "vision":
        axes.plot(*zip(*REPORTED.items(), strict=True), "k*", markersize=11, label="reported, unpaired runs")
    if all(row["scale"] is None or row["scale"] > 0 for row in rows):
        axes.set_xscale("log")
    axes.set(xlabel="scale", ylabel="adapters' gradient norm, on / off")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _line_label(row: Measured) -> str:
    parts = [] if row["scale"] is not None else ["as in the file (no scale)"]
    if row["norm_matched"] is not None:
        parts.append("norm-matched" if row["norm_matched"] else "not norm-matched")
    if row["text_context"] is not None:
        parts.append(f"{row['text_context']} context")
    return ", ".join(parts) or "by scale"


def _reach(ratios: Sequence[Measured]) -> list[list[float]]:
    """How far each interval reaches below and above its value; 0 where there is none."""
    below = [0.0 if one["low"] is None else max(0.0, one["value"] - one["low"]) for one in ratios]
    above = [0.0 if one["high"] is None else max(0.0, one["high"] - one["value"]) for one in ratios]
    return [below, above]
