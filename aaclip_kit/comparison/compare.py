"""Paired comparison of methods with a baseline, by class and seed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from jaxtyping import Float

from ..contracts.errors import UserError, unknown
from ..evaluation.class_metrics import METRICS
from ..record.run_folder import as_written
from . import paired_statistics as statistics
from .finished_runs import FinishedRun, Group
from .paired_statistics import Interval, Signs, Verdict, judge


@dataclass(frozen=True)
class Summary:
    """One metric of one group: the mean and standard deviation of its seeds' means; None where it is undefined."""

    mean: float | None
    deviation: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of one group less the baseline's. `left_out` counts the pairs that lack a value on either side."""

    mean: float | None
    bootstrap: Interval | None
    classes_drawn: bool
    over_seeds: Interval | None
    seed_signs: Signs
    pair_signs: Signs
    pairs: int
    left_out: int
    of_seed: dict[int, float | None]
    of_class: dict[str, float | None]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every group against the baseline. `loop` is None where each run's quoted loop was taken."""

    baseline: str
    loop: int | None
    metrics: tuple[str, ...]
    groups: dict[str, Group]
    classes: tuple[str, ...]
    summaries: dict[str, dict[str, Summary]]
    differences: dict[str, dict[str, Difference]]
    notes: tuple[str, ...]


def compare(
    groups: Sequence[Group], baseline: str | None = None, loop: int | None = None, metrics: Sequence[str] = ()
) -> Comparison:
    """Compare each group with the baseline, the first by default.

    Raises `UserError` for an unknown baseline or metric, a loop that a run lacks, runs on different test data, and a
    group that shares no seed with the baseline.
    """
    with as_written(", ".join(str(group.folder) for group in groups)):
        return _compared(groups, baseline, loop, metrics)


def _compared(groups: Sequence[Group], baseline: str | None, loop: int | None, metrics: Sequence[str]) -> Comparison:
    named = {group.label: group for group in groups}
    if baseline is not None and baseline not in named:
        raise unknown(baseline, "run", list(named), "--baseline")
    first = groups[0] if baseline is None else named[baseline]
    _check_test_data(first, groups)
    others = [group for group in groups if group is not first]
    for other in others:
        if not _shared(first, other):
            problem = f"shares no seed with {first.label} ({_listed(other.runs)} against {_listed(first.runs)})"
            raise UserError(problem, where=str(other.folder), fix="run both with the same seeds: --seed or --seeds")
    held = {group.label: _held(group, loop) for group in groups}
    chosen = _metrics(held, metrics)
    classes = tuple(next(iter(first.runs.values())).scores(loop))
    ordered = {group.label: group for group in (first, *others)}
    summaries = {
        label: {metric: summary(group.runs.values(), metric, loop) for metric in chosen}
        for label, group in ordered.items()
    }
    differences = {
        other.label: {metric: _difference(first, other, metric, loop=loop, classes=classes) for metric in chosen}
        for other in others
    }
    unshared = [name for name in METRICS if not metrics and name in set.union(*held.values()) - set(chosen)]
    notes = (*(f"{name} was not measured by every run, and is left out" for name in unshared), *_notes(first, others))
    return Comparison(
        baseline=first.label, loop=loop, metrics=chosen, groups=ordered, classes=classes, summaries=summaries,
        differences=differences, notes=notes,
    )  # fmt: skip


def _shared(first: Group, other: Group) -> list[int]:
    """Seeds that make pairs. A model without a seed stands beside every seed of the other group."""
    if first.one_model or other.one_model:
        return sorted(first.runs if other.one_model else other.runs)
    return sorted(first.runs.keys() & other.runs.keys())


def _check_test_data(first: Group, groups: Sequence[Group]) -> None:
    """All runs must have scored the same test images: a pair is one class, and one class is one set of images."""
    reference = next(iter(first.runs.values()))
    for run in (run for group in groups for run in group.runs.values()):
        if run.data["test"]["sha256"] == reference.data["test"]["sha256"]:
            continue
        here, there = set(run.scores()), set(reference.scores())
        named = [f"only here: {', '.join(sorted(here - there))}"] if here - there else []
        named += [f"only in {reference.folder}: {', '.join(sorted(there - here))}"] if there - here else []
        classes = f" (classes {'; '.join(named)})" if named else " (the same classes, other images or masks)"
        problem = f"was tested on other data than {reference.folder}{classes}"
        raise UserError(problem, where=str(run.folder), fix="compare runs whose [data.test] is the same")


def _held(group: Group, loop: int | None) -> set[str]:
    """Metrics that every run of a group measured."""
    of_runs = ({metric for values in run.scores(loop).values() for metric in values} for run in group.runs.values())
    return set(METRICS).intersection(*of_runs)


def _metrics(held: dict[str, set[str]], asked: Sequence[str]) -> tuple[str, ...]:
    """The metrics asked for, or all that each group holds, in the order of every table."""
    for name in asked:
        if name not in METRICS:
            raise unknown(name, "metric", METRICS, "--metric")
        if lacking := [label for label, names in held.items() if name not in names]:
            problem = f"'{name}' was not measured by {', '.join(lacking)}"
            raise UserError(problem, where="--metric", fix="run them again, or ask for another metric")
    common = set(asked) or set.intersection(*held.values())
    return tuple(name for name in METRICS if name in common)


def summary(runs: Iterable[FinishedRun], metric: str, loop: int | None = None) -> Summary:
    """Average over runs the mean over the classes, after `loop`, by default the quoted one."""
    means = (run.result(loop)["mean"].get(metric) for run in runs)
    values = [float(mean) for mean in means if mean is not None]
    deviation = stdev(values) if len(values) > 1 else None
    return Summary(fmean(values) if values else None, deviation, len(values))


def _difference(first: Group, other: Group, metric: str, *, loop: int | None, classes: tuple[str, ...]) -> Difference:
    seeds = _shared(first, other)
    theirs, ours = (_table(group, seeds, metric, loop=loop, classes=classes) for group in (other, first))
    values = theirs - ours
    means = statistics.seed_means(values)
    mean, bootstrap = statistics.mean_difference(values), statistics.cluster_bootstrap(values)
    over_seeds, drawn = statistics.t_interval(values), statistics.resamples_classes(values)
    signs, undefined = statistics.sign_test(means), int(np.isnan(values).sum())
    return Difference(
        mean=mean, bootstrap=bootstrap, classes_drawn=drawn, over_seeds=over_seeds,
        seed_signs=signs, pair_signs=statistics.sign_test(values),
        pairs=values.size - undefined, left_out=undefined,
        of_seed={seed: statistics.mean_difference(values[[row]]) for row, seed in enumerate(seeds)},
        of_class={name: statistics.mean_difference(values[:, [column]]) for column, name in enumerate(classes)},
        verdict=judge(mean, bootstrap=bootstrap, over_seeds=over_seeds, drawn=drawn, seeds=signs),
    )  # fmt: skip


def _table(
    group: Group, seeds: Sequence[int], metric: str, *, loop: int | None, classes: Sequence[str]
) -> Float[np.ndarray, "seeds classes"]:
    scores = ((group.one_model or group.runs[seed]).scores(loop) for seed in seeds)
    return np.array([[of_class[name].get(metric) for name in classes] for of_class in scores], dtype=float)


def _notes(first: Group, others: Sequence[Group]) -> list[str]:
    """What a reader must know beside the figures."""
    notes = [f"{group.label}: {', '.join(group.unfinished)} unfinished, left out"
             for group in (first, *others) if group.unfinished]  # fmt: skip
    missing = dict.fromkeys(place for group in (first, *others) for place in group.missing)
    notes += [f"{place}: no finished run, left out" for place in missing]
    for group in (first, *others):
        if group.one_model:
            said = "one model, without a seed: it stands beside every seed of the others, and the intervals take it"
            notes.append(f"{group.label}: {said} as given")
        elif not first.one_model and (apart := sorted(first.runs.keys() ^ group.runs.keys())):
            notes.append(f"{group.label}: seeds {_listed(apart)} are not in both, and stand in no difference")
    everywhere = [run for group in (first, *others) for run in group.runs.values() if "train" in run.data]
    # A draw of shots differs by seed.
    trained_on = {(run.seed, run.data["train"].get("sha256")) for run in everywhere}
    if len(trained_on) > len({run.seed for run in everywhere}):
        notes.append("the runs were trained on different data")
    if len({run.commit for run in everywhere}) > 1:
        notes.append("the runs were made by different commits of the code")
    return notes


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
