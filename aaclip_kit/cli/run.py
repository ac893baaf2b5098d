"""`aakit run` and `aakit validate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..contracts.errors import UserError, UserErrors
from ..discovery import discover
from ..experiment import Experiment, load
from ..experiment.source import read_toml
from ..registry import Registry

if TYPE_CHECKING:
    from ..engine.assemble import Run

SET_HELP = "Override one key: --set stages.text_to_image.scale=0.3; may be repeated."


def run(
    file: Path = typer.Argument(help="Experiment file (TOML)."),
    out: Path | None = typer.Option(None, "--out", help="Folder of the run; default runs/NAME-TIME."),
    overrides: list[str] = typer.Option([], "--set", help=SET_HELP),
    device: str | None = typer.Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
    seed: int | None = typer.Option(None, "--seed", help="Seed of weights, order and augmentation."),
    seeds: int | None = typer.Option(None, "--seeds", min=1, help="Run this many seeds, each in a folder OUT/seed_N."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Assemble and show the plan; train and write nothing."),
) -> None:
    """Run an experiment file: evaluate, train loop after loop, evaluate, report."""
    overrides, registry = [*overrides, *_shortcuts(device, seed)], discover()
    if seeds is not None:
        from .seeds import run_seeds

        return run_seeds(file, overrides, registry, seeds, out, dry_run)
    experiment = load(file, registry, overrides)
    from ..record.folder import RunFolder, default_run_path
    from .screen import Screen

    target = out or default_run_path(experiment.file.name)
    if not dry_run:
        RunFolder.check_free(target)
    screen = Screen()
    screen.message(f"assembling {file}")
    assembled = _assemble(experiment)
    screen.plan(assembled, None if dry_run else target)
    if dry_run:
        return
    from ..engine.run import execute

    folder = RunFolder.create(target)
    with screen:
        metrics = execute(assembled, folder, screen)
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
            print(f"{file}: valid")
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserErrors(faults)


def _check(file: Path, registry: Registry, overrides: list[str]) -> None:
    """An ablation file is known by its table of variants."""
    if "variants" in read_toml(file):
        from ..comparison.study import load_study

        load_study(file, registry, seeds=1, overrides=tuple(overrides))
    else:
        load(file, registry, overrides)


def _shortcuts(device: str | None, seed: int | None) -> list[str]:
    named = {"device": device, "seed": seed}
    return [f"{key}={value}" for key, value in named.items() if value is not None]


def _assemble(experiment: Experiment) -> "Run":
    from ..engine.assemble import assemble

    return assemble(experiment)
