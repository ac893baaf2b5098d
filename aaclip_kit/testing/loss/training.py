"""A loss in a whole run."""

from __future__ import annotations

from typing import Any

from ...contracts.options import TOWERS
from ..check import Found
from ..subject import Subject
from ..trial import run_tiny
from .given import build, phases

OTHERS: dict[str, dict[str, Any]] = {
    "text": {"use": "segmentation"},
    "vision": {"use": "segmentation"},
}


def trains_in_a_run(subject: Subject) -> None:
    """Alone in each phase that it can teach; the built-in segmentation loss teaches the other."""
    own = phases(build(subject))
    table = {**subject.table, "use": subject.name}
    losses = {tower: {"checked": table if tower in own else OTHERS[tower]} for tower in TOWERS}
    with run_tiny(subject, losses=losses) as trial:
        if bad := [name for name, change in trial.changes.items() if change != change]:
            raise Found(f"after two steps these are not finite: {', '.join(bad)}")
        for tower in own:
            prefix = "heads.text." if tower == "text" else "heads."
            changes = [
                change
                for name, change in trial.changes.items()
                if name.startswith(prefix) and (tower == "text" or not name.startswith("heads.text."))
            ]
            if not any(changes):
                raise Found(f"two steps of the {tower} phase changed none of its weights")
