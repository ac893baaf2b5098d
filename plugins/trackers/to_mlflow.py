"""The tracker `mlflow`: MLflow's own client, on a server, a database or local files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aaclip_kit import Point, TrackedRun, Tracker

from . import MlflowOptions
from .needed import check_installed

_MOST_METRICS: Final = 1000
_MOST_SETTINGS: Final = 100
"""What MLflow takes in one request."""

_LONGEST: Final = 500
"""Characters of a setting's value that every version of MLflow takes."""

_QUICKLY: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that does not answer is told of in a minute; by default it is asked again for half an hour."""


class ToMlflow(Tracker):
    """Metrics, settings, and as artifacts the experiment and the pictures; a tag says where the report is."""

    def __init__(self, options: MlflowOptions) -> None:
        check_installed("mlflow", "mlflow")
        self.options = options

    def begin(self, run: TrackedRun) -> str:
        """Make MLflow's run, or find it again."""
        for name, value in _QUICKLY.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=self.options.uri)
        if run.earlier is not None:
            self.run: str = run.earlier
            self.client.update_run(self.run, status="RUNNING")
            return self.run
        found = self.client.get_experiment_by_name(self.options.experiment)
        number = found.experiment_id if found else self.client.create_experiment(self.options.experiment)
        self.run = self.client.create_run(
            number, run_name=run.name, tags={"folder": str(run.folder), "report": run.report.as_uri()}
        ).info.run_id
        self._keep(run)
        return self.run

    def _keep(self, run: TrackedRun) -> None:
        from mlflow.entities import Param

        settings = [Param(_name(key), str(value)[:_LONGEST]) for key, value in run.settings.items()]
        for first in range(0, len(settings), _MOST_SETTINGS):
            self.client.log_batch(self.run, params=settings[first : first + _MOST_SETTINGS])
        self.client.log_text(self.run, run.experiment, "experiment.toml")

    def scalars(self, points: Sequence[Point]) -> None:
        """Send them in as few requests as MLflow takes."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        found = [Metric(_name(key), value, now, point.step) for point in points for key, value in point.values.items()]
        for first in range(0, len(found), _MOST_METRICS):
            self.client.log_batch(self.run, metrics=found[first : first + _MOST_METRICS])

    def picture(self, step: int, name: str, file: Path) -> None:
        """Send the picture as an artifact."""
        self.client.log_artifact(self.run, str(file), str(Path(name).parent))

    def end(self, finished: bool) -> None:
        """Say how the run has ended."""
        self.client.set_terminated(self.run, "FINISHED" if finished else "KILLED")


def _name(key: str) -> str:
    """A name of those characters that MLflow has for one."""
    return re.sub(r"[^\w./ :-]", "_", key, flags=re.ASCII)
