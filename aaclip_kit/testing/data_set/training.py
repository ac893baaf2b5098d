"""A data set in a whole run."""

from __future__ import annotations

from typing import Any

from ...contracts.data import DataSet
from ...data.checks import class_counts
from ..check import Found, NotApplicable
from ..subject import Subject
from ..trial import run_tiny
from .samples import read

MOST_SHOTS = 2
"""Normal and anomalous images of each class: a run is to take seconds."""


def trains_in_a_run(subject: Subject) -> None:
    """Train on a few images of each class, and score the same."""
    data = read(subject)
    if not any(sample.mask for sample in data.samples):
        raise NotApplicable("there is no mask to train on")
    table = {**subject.table, "use": subject.name, **_shots(data)}
    with run_tiny(subject, data={"allow_overlap": True, "train": table, "test": table}) as trial:
        if bad := [name for name, change in trial.changes.items() if change != change]:
            raise Found(f"after two steps these are not finite: {', '.join(bad)}")
        scored = trial.metrics["loops"][-1]["classes"]
        if missing := [name for name in data.classes if name not in scored]:
            raise Found(f"the run has no result for {', '.join(missing)}")


def _shots(data: DataSet) -> dict[str, Any]:
    """As many images as every class has."""
    counts = class_counts(data.samples).values()
    normal, anomalous = (min(MOST_SHOTS, *(count[label] for count in counts)) for label in (0, 1))
    return {"shots": {"normal": normal, "anomalous": anomalous}} if normal + anomalous else {}
