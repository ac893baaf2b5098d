"""A stage in a whole run."""

from __future__ import annotations

from typing import cast

from ...contracts.options import StageOptions
from ..check import Found
from ..subject import Subject
from ..tiny import MODEL
from ..trial import differences, run_tiny

NAME = "checked"
NEAR = 1e-5


def trains_in_a_run(subject: Subject) -> None:
    """Two steps in each phase, and the checkpoint loaded into a run of another seed."""
    options = cast(StageOptions, subject.options())
    depth = MODEL["text_cfg" if options.tower == "text" else "vision_cfg"]["layers"]
    after = [block for block in options.after if block < depth] or [0]
    table = {**subject.table, "use": subject.name, "after": after}
    with run_tiny(subject, stages={NAME: table}) as trial:
        own = {name: change for name, change in trial.changes.items() if name.startswith(f"sites.stages.{NAME}.")}
        if bad := [name for name, change in own.items() if change != change]:
            raise Found(f"after two steps these are not finite: {', '.join(bad)}")
        if own and not any(own.values()):
            raise Found("two steps of training changed none of its parameters")
        if (difference := differences(trial)) > NEAR:
            raise Found(f"the checkpoint, loaded into a new run, gives features that differ by {difference:.2g}")
