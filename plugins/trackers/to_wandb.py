"""The tracker `wandb`: Weights & Biases' own client, to its server, or into files for `wandb sync`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from aaclip_kit import Point, TrackedRun, Tracker

from . import WandbOptions
from .needed import check_folder, check_installed, folder_of


class ToWandb(Tracker):
    """History by training step, settings as the configuration, pictures, and the link to the report."""

    def __init__(self, options: WandbOptions) -> None:
        check_installed("wandb", "wandb")
        check_folder(options.folder)
        self.options = options

    def begin(self, run: TrackedRun) -> str:
        """Make W&B's run, or go on with it. Nothing is collected of the machine, the console or the code."""
        import wandb

        self.wandb, options = wandb, self.options
        name = run.earlier or uuid4().hex[:12]
        quiet = wandb.Settings(
            console="off", silent=True, save_code=False, disable_git=True, x_disable_stats=True, x_disable_meta=True
        )
        self.run = wandb.init(
            project=options.project, entity=options.entity, mode=options.mode, dir=str(folder_of(run, options.folder)),
            id=name, resume="allow", name=run.name, config=dict(run.settings), settings=quiet,
        )  # fmt: skip
        self.run.summary["report"] = run.report.as_uri()
        self.run.save(str(run.folder / "experiment.toml"), base_path=str(run.folder), policy="now")
        return name

    def scalars(self, points: Sequence[Point]) -> None:
        """Log each point under its step."""
        for point in points:
            self.run.log(dict(point.values), step=point.step)

    def picture(self, step: int, name: str, file: Path) -> None:
        """Log the picture under the step."""
        self.run.log({name: self.wandb.Image(str(file))}, step=step)

    def end(self, finished: bool) -> None:
        """Send what is left."""
        self.run.finish(exit_code=0 if finished else 1)
