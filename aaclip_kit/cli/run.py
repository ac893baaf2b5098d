"""`aakit run`, with one seed or several; `aakit validate`; `aakit report`, a run's report made again."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Argument, Option

from ..cluster.choose import chosen_place
from ..contracts.errors import UserError, UserErrors
from ..distributed.ranks import ALONE, Ranks
from ..experiment import Experiment, load
from ..experiment.toml_file import read_toml, refuse_plugin_files
from ..plugin_host.discovery import discover
from ..plugin_host.registry import Registry
from .places import DEVICES_HELP, JOBS_HELP, ON_HELP, RESOURCES_HELP
from .processes import in_processes, refuse_many_processes
from .terminal import PlainConsole, plain_table, say

if TYPE_CHECKING:
    from ..cluster.task import Place
    from ..comparison.seeds import Seeds
    from ..comparison.series import State
    from ..record.run_folder import RunFolder
    from ..run.assemble import Run
    from ..run.snapshot import Snapshot
    from .screen import Screen


SET_HELP = "Override one key: --set stages.text_to_image.scale=0.3; may be repeated."


def run(
    file: Path | None = Argument(None, help="Experiment file (TOML)."),
    out: Path | None = Option(None, "--out", help="Folder of the run; default runs/NAME-TIME."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
    seed: int | None = Option(None, "--seed", help="Seed of weights, order and augmentation."),
    seeds: int | None = Option(
        None, "--seeds", min=1, max=1000, help="Run this many seeds, each in a folder OUT/seed_N."
    ),
    jobs: int | None = Option(None, "--jobs", min=1, help=f"With --seeds: {JOBS_HELP}"),
    devices: str | None = Option(None, "--devices", help=f"With --seeds: {DEVICES_HELP}"),
    on: str | None = Option(None, "--on", help=f"With --seeds: {ON_HELP}"),
    resources: str | None = Option(None, "--resources", help=RESOURCES_HELP),
    dry_run: bool = Option(False, "--dry-run", help="Assemble and show the plan; train and write nothing."),
    resume: Path | None = Option(
        None, "--resume", help="Go on with the run in this folder, which has died or was stopped; give nothing else."
    ),
    experiment: Path | None = Option(
        None, "--experiment", help="With --resume: FOLDER/experiment.toml, if you trust the plugin files that it names."
    ),
) -> None:
    """Run an experiment file: evaluate, train loop after loop, evaluate, report."""
    overrides, registry = with_shortcuts(overrides, device=device, seed=seed), discover()
    elsewhere = [name for name, value in (("--jobs", jobs), ("--devices", devices), ("--on", on)) if value is not None]
    if resume is not None:
        if file or out or overrides or seeds is not None or dry_run or elsewhere:
            fix = "leave out the rest: the run goes on as it began"
            raise UserError("--resume takes a run's folder and nothing else", fix=fix)
        with in_processes() as ranks:
            return _resume(resume, registry, ranks, experiment)
    if experiment is not None:
        raise UserError("--experiment is for --resume", fix="give the experiment file alone: aakit run FILE")
    if file is None:
        raise UserError("no experiment file is given", fix="aakit run FILE, or aakit run --resume FOLDER")
    if seeds is not None:
        refuse_many_processes("aakit run --seeds")
        place = None if dry_run else chosen_place(on, jobs, devices, resources, say)
        return _run_seeds(file, overrides, registry, count=seeds, out=out, dry_run=dry_run, place=place)
    if elsewhere or resources is not None:
        where = (*elsewhere, "--resources")[0]
        raise UserError(
            "is for several runs", where=where, fix="give --seeds N too; one run has many devices by torchrun"
        )
    with in_processes() as ranks:
        _run(load(file, registry, overrides), file, out=out, dry_run=dry_run, ranks=ranks)


def _run(experiment: Experiment, file: Path, *, out: Path | None, dry_run: bool, ranks: Ranks) -> None:
    from ..record.run_folder import RunFolder, new_run
    from .screen import Screen

    name, screen = experiment.file.name, Screen()
    alone = new_run(out, name) if ranks.is_first and not dry_run else nullcontext(RunFolder(out or Path(name)))
    with alone as folder:
        screen.message(f"assembling {file}")
        assembled = _assemble(experiment, ranks, dry_run)
        screen.plan(assembled, None if dry_run else folder.path)
        if not dry_run:
            _execute(assembled, folder, screen)


def _resume(path: Path, registry: Registry, ranks: Ranks, named: Path | None) -> None:
    from ..record.run_folder import EXPERIMENT, RunFolder, claimed
    from ..run.resume import check_begun, finish, lacks_report, take_up, unfinished
    from ..tracking.place import with_trackers_of
    from .screen import Screen

    check_begun(path)
    own, screen = path / EXPERIMENT, Screen()
    if named is None:
        refuse_plugin_files(read_toml(own), path, own)
    elif named.resolve() != own.resolve():
        raise UserError("is not the run's own", where=str(named), fix=f"a run goes on as it began: {own}")
    with claimed(path, path.name) if ranks.is_first else nullcontext(RunFolder(path)) as folder:
        if lacks_report(path):
            return screen.message(finish(path)) if ranks.is_first else None
        _, snapshot, warnings = unfinished(path)
        for warning in warnings:
            screen.message(f"warning: {warning}")
        screen.message(f"assembling {own}")
        assembled = _assemble(with_trackers_of(path, load(own, registry), registry), ranks)
        line = take_up(folder, snapshot, assembled.experiment.plugins, assembled.data.records)
        screen.plan(assembled, path)
        screen.message(line)
        _execute(assembled, folder, screen, snapshot)


def _execute(assembled: "Run", folder: "RunFolder", screen: "Screen", snapshot: "Snapshot | None" = None) -> None:
    from ..run.execute import execute_to_the_end

    metrics = execute_to_the_end(assembled, folder, screen, snapshot)
    if assembled.ranks.is_first:
        screen.results(metrics, folder.path)


def validate(
    files: list[Path] = Argument(help="Experiment files, or ablation files."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
) -> None:
    """Check experiment and ablation files and show every fault; nothing is built, no data is read."""
    registry, faults = discover(), list[UserError]()
    for file in files:
        try:
            if "variants" in read_toml(file):  # an ablation file
                from ..comparison.ablation_plan import load_study

                load_study(file, registry, seeds=1, overrides=tuple(overrides))
            else:
                load(file, registry, overrides)
            say(f"{file}: valid")
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserErrors(faults)


def with_shortcuts(overrides: Sequence[str], **options: str | int | None) -> list[str]:
    """Add to the overrides the keys that have an option of their own, such as --device, where it is given."""
    return [*overrides, *(f"{key}={value}" for key, value in options.items() if value is not None)]


def _assemble(experiment: Experiment, ranks: Ranks = ALONE, dry_run: bool = False) -> "Run":
    from ..run.assemble import assemble
    from ..run.fit_memory import fit_memory

    return fit_memory(assemble(experiment, ranks), show=dry_run)


def _run_seeds(
    file: Path,
    overrides: Sequence[str],
    registry: Registry,
    *,
    count: int,
    out: Path | None,
    dry_run: bool,
    place: "Place | None",
) -> None:
    """Run `count` seeds, the file's and those after it, into OUT/seed_N: finished runs are kept, unfinished ones go on.

    A seed that another process is at work on is left to it. Raises `UserError`, before anything runs, where a seed's
    folder holds another experiment or anything else.
    """
    from ..comparison.seeds import Seeds
    from ..record.run_folder import default_run_path, made_folder
    from .screen import Screen

    first = load(file, registry, overrides).file
    seeds = range(first.seed, first.seed + count)
    experiments = {seed: load(file, registry, [*overrides, f"seed={seed}"]) for seed in seeds}
    with nullcontext(out or default_run_path(first.name)) if dry_run else made_folder(out, first.name) as target:
        states = _states(target, experiments, registry)
        said = {"finished": "finished already, kept", "unfinished": "left unfinished, goes on", "free": "to run"}
        for seed, state in states.items():
            say(f"seed {seed}: {said[state]}")
        if dry_run:
            Screen().plan(_assemble(experiments[first.seed], dry_run=True), None)
            return
        series = Seeds(file, tuple(overrides), target, experiments, registry, say)
        alone = count == 1 and place is None
        if alone and first.seed in series.todo():
            _run_seed(series, first.seed)  # refused, as any run is, where another is at work in its folder
        left, faults = ([], []) if alone else series.execute(place, partial(_run_seed, series))
        if faults:
            raise UserErrors(faults)
        if left:
            return say(f"{len(left)} seeds are left to other processes; the last one to end shows the table")
        _show_seeds(target, seeds)


def _run_seed(series: "Seeds", seed: int) -> None:
    from ..comparison.series import open_run, seed_folder, take_up_if_begun
    from ..files.system import forget_peak_memory
    from ..run.execute import execute_to_the_end
    from .screen import Screen

    place, experiment = seed_folder(series.out, seed), series.experiments[seed]
    say(f"seed {seed} in {place}")
    with open_run(place, experiment, series.registry) as folder:
        if folder is None:
            return
        forget_peak_memory()
        assembled, screen = _assemble(experiment), Screen()
        snapshot, lines = take_up_if_begun(folder, assembled)
        screen.data_notes(assembled)
        for line in lines:
            screen.message(line)
        metrics = execute_to_the_end(assembled, folder, screen, snapshot)
        screen.red_lines(metrics, folder.path)


def _states(target: Path, experiments: dict[int, Experiment], registry: Registry) -> "dict[int, State]":
    from ..comparison.finished_runs import holds_a_run
    from ..comparison.series import has_begun, seed_folder, state_of
    from ..files.lock import in_use

    if target.is_dir() and holds_a_run(target):
        raise UserError("holds a single run", where=str(target), fix="name another folder with --out")
    states, faults = dict[int, "State"](), list[UserError]()
    for seed, experiment in experiments.items():
        folder = seed_folder(target, seed)
        if in_use(folder):
            states[seed] = "unfinished"
            continue
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


def _show_seeds(target: Path, seeds: Sequence[int]) -> None:
    """Print mean and standard deviation over the seeds, before training, after each loop, and of the quoted loops."""
    from ..comparison.compare import summary
    from ..comparison.finished_runs import read_run
    from ..comparison.series import seed_folder
    from ..comparison.write import spread
    from ..evaluation.class_metrics import METRICS, heading

    runs = [read_run(seed_folder(target, seed)) for seed in seeds]
    held = [metric for metric in METRICS if all(metric in run.result()["mean"] for run in runs)]
    title = f"mean ± standard deviation over {len(runs)} seeds, mean over the test classes"
    last = min(len(run.metrics["loops"]) for run in runs)
    lines = {"before training": 0, **{f"loop {loop}": loop for loop in range(1, last + 1)}, "quoted": None}
    rows = ((name, *(spread(summary(runs, metric, loop)) for metric in held)) for name, loop in lines.items())
    PlainConsole().print(plain_table("", *map(heading, held), rows=rows, title=title))
    say(f"runs: {target}")


def report(run: Path = Argument(help="Folder of a run.")) -> None:
    """Make report.html again from what a run folder holds; nothing is scored."""
    from ..report.page import write_report

    say(f"report: {write_report(run)}")
