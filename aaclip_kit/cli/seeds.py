"""`aakit run --seeds N`: one experiment with several seeds, and their mean and standard deviation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..contracts.errors import UserError, UserErrors
from ..experiment import Experiment, load
from ..plugin_host.registry import Registry
from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from ..comparison.series import State

SAID: "dict[State, str]" = {
    "finished": "finished already, kept",
    "unfinished": "left unfinished, goes on",
    "free": "to run",
}


def run_seeds(
    file: Path, overrides: Sequence[str], registry: Registry, count: int, out: Path | None, dry_run: bool
) -> None:
    """Run `count` seeds, the file's and those after it, into OUT/seed_N.

    Finished runs of the same experiment are kept, and an unfinished one goes on from its last saved state. Raises
    `UserError`, before anything runs, where a seed's folder holds another experiment or anything else.
    """
    from ..record.run_folder import default_run_path
    from ..run.assemble import assemble
    from ..run.fit_memory import fit_memory
    from .screen import Screen

    first = load(file, registry, overrides).file
    target = out or default_run_path(first.name)
    experiments = {
        seed: load(file, registry, [*overrides, f"seed={seed}"]) for seed in range(first.seed, first.seed + count)
    }
    states = _states(target, experiments, registry)
    for seed, state in states.items():
        say(f"seed {seed}: {SAID[state]}")
    if dry_run:
        Screen().plan(fit_memory(assemble(experiments[first.seed]), show=True), None)
        return
    from ..comparison.series import open_run, seed_folder
    from ..run.execute import execute_to_the_end

    for seed in (seed for seed, state in states.items() if state != "finished"):
        say(f"seed {seed} in {seed_folder(target, seed)}")
        assembled, screen = fit_memory(assemble(experiments[seed])), Screen()
        folder, snapshot, lines = open_run(seed_folder(target, seed), assembled)
        screen.data_notes(assembled)
        for line in lines:
            screen.message(line)
        execute_to_the_end(assembled, folder, screen, snapshot)
    _show(target, list(experiments))


def _states(target: Path, experiments: dict[int, Experiment], registry: Registry) -> "dict[int, State]":
    from ..comparison.finished_runs import holds_a_run
    from ..comparison.series import has_begun, seed_folder, state_of

    if target.is_dir() and holds_a_run(target):
        raise UserError("holds a single run", where=str(target), fix="name another folder with --out")
    states: dict[int, State] = {}
    faults = list[UserError]()
    for seed, experiment in experiments.items():
        folder = seed_folder(target, seed)
        try:
            states[seed] = state_of(folder, experiment, registry)
        except UserError as error:
            faults.append(error)
            continue
        if states[seed] == "unfinished" and not has_begun(folder):
            fix = "remove the folder if no run is beginning there now"
            faults.append(UserError("holds a run that has not begun", where=str(folder), fix=fix))
    if faults:
        raise UserErrors(faults)
    return states


def _show(target: Path, seeds: list[int]) -> None:
    """Mean and standard deviation over the seeds, before training, after each loop, and of the quoted loops."""
    from rich.table import Table

    from ..comparison.compare import summary
    from ..comparison.finished_runs import read_run
    from ..comparison.series import seed_folder
    from ..comparison.tables import spread
    from ..evaluation.class_metrics import METRICS, heading

    runs = [read_run(seed_folder(target, seed)) for seed in seeds]
    held = [metric for metric in METRICS if all(metric in run.result()["mean"] for run in runs)]
    table = Table(
        *("", *map(heading, held)), box=None, header_style="bold", pad_edge=False, title_justify="left",
        title=f"mean ± standard deviation over {len(runs)} seeds, mean over the test classes",
    )  # fmt: skip
    last = min(len(run.metrics["loops"]) for run in runs)
    lines = {"before training": 0, **{f"loop {loop}": loop for loop in range(1, last + 1)}, "quoted": None}
    for name, loop in lines.items():
        table.add_row(name, *(spread(summary(runs, metric, loop)) for metric in held))
    PlainConsole(highlight=False).print(table)
    say(f"runs: {target}")
