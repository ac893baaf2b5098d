"""`aakit run` and `aakit validate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..contracts.errors import UserError, UserErrors
from ..distributed.ranks import Ranks
from ..experiment import Experiment, load
from ..experiment.toml_file import read_toml
from ..plugin_host.discovery import discover
from ..plugin_host.registry import Registry
from .processes import in_processes, refuse_many_processes
from .terminal import say

if TYPE_CHECKING:
    from ..record.run_folder import RunFolder
    from ..run.assemble import Run
    from ..run.snapshot import Snapshot
    from .screen import Screen


SET_HELP = "Override one key: --set stages.text_to_image.scale=0.3; may be repeated."


def run(
    file: Path | None = typer.Argument(None, help="Experiment file (TOML)."),
    out: Path | None = typer.Option(None, "--out", help="Folder of the run; default runs/NAME-TIME."),
    overrides: list[str] = typer.Option([], "--set", help=SET_HELP),
    device: str | None = typer.Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
    seed: int | None = typer.Option(None, "--seed", help="Seed of weights, order and augmentation."),
    seeds: int | None = typer.Option(None, "--seeds", min=1, help="Run this many seeds, each in a folder OUT/seed_N."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Assemble and show the plan; train and write nothing."),
    resume: Path | None = typer.Option(
        None, "--resume", help="Go on with the run in this folder, which has died or was stopped; give nothing else."
    ),
) -> None:
    """Run an experiment file: evaluate, train loop after loop, evaluate, report."""
    overrides, registry = [*overrides, *_shortcuts(device, seed)], discover()
    if resume is not None:
        if file or out or overrides or seeds is not None or dry_run:
            fix = "leave out the rest: the run goes on as it began"
            raise UserError("--resume takes a run's folder and nothing else", fix=fix)
        with in_processes() as ranks:
            return _resume(resume, registry, ranks)
    if file is None:
        raise UserError("no experiment file is given", fix="aakit run FILE, or aakit run --resume FOLDER")
    if seeds is not None:
        refuse_many_processes("aakit run --seeds")
        from .seeds import run_seeds

        return run_seeds(file, overrides, registry, seeds, out, dry_run)
    with in_processes() as ranks:
        _run(load(file, registry, overrides), file, out, dry_run, ranks)


def _run(experiment: Experiment, file: Path, out: Path | None, dry_run: bool, ranks: Ranks) -> None:
    from ..record.run_folder import RunFolder, default_run_path
    from .screen import Screen

    target = out or default_run_path(experiment.file.name)
    if ranks.is_first and not dry_run:
        RunFolder.check_free(target)
    screen = Screen()
    screen.message(f"assembling {file}")
    assembled = _assemble(experiment, ranks, dry_run)
    screen.plan(assembled, None if dry_run else target)
    if dry_run:
        return
    _execute(assembled, RunFolder.create(target) if ranks.is_first else RunFolder(target), screen)


def _resume(path: Path, registry: Registry, ranks: Ranks) -> None:
    from ..record.run_folder import EXPERIMENT
    from ..run.resume import take_up, unfinished
    from .screen import Screen

    folder, snapshot, warnings = unfinished(path)
    screen = Screen()
    for warning in warnings:
        screen.message(f"warning: {warning}")
    screen.message(f"assembling {path / EXPERIMENT}")
    assembled = _assemble(load(path / EXPERIMENT, registry), ranks, False)
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
    files: list[Path] = typer.Argument(help="Experiment files, or ablation files."),
    overrides: list[str] = typer.Option([], "--set", help=SET_HELP),
) -> None:
    """Check experiment and ablation files and show every fault; nothing is built, no data is read."""
    registry, faults = discover(), list[UserError]()
    for file in files:
        try:
            _check(file, registry, overrides)
            say(f"{file}: valid")
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserErrors(faults)


def _check(file: Path, registry: Registry, overrides: list[str]) -> None:
    """An ablation file is known by its table of variants."""
    if "variants" in read_toml(file):
        from ..comparison.ablation_plan import load_study

        load_study(file, registry, seeds=1, overrides=tuple(overrides))
    else:
        load(file, registry, overrides)


def _shortcuts(device: str | None, seed: int | None) -> list[str]:
    named = {"device": device, "seed": seed}
    return [f"{key}={value}" for key, value in named.items() if value is not None]


def _assemble(experiment: Experiment, ranks: Ranks, dry_run: bool) -> "Run":
    from ..run.assemble import assemble
    from ..run.fit_memory import fit_memory

    return fit_memory(assemble(experiment, ranks), show=dry_run)
