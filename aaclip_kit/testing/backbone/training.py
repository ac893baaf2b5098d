"""A backbone in a whole run."""

from __future__ import annotations

from typing import Any

from ..check import Found
from ..subject import Subject
from ..trial import run_tiny


def serves_a_run(subject: Subject) -> None:
    """Adapters and cross-attention, two steps in each phase; every stage learns, the backbone does not."""
    stages: dict[str, dict[str, Any]] = {
        "text_to_image": {"use": "text_to_image", "heads": 1},
        "image_to_text": {"use": "image_to_text", "heads": 1},
        "text_adapter": {"use": "residual_adapter", "tower": "text", "after": [0]},
        "vision_adapter": {"use": "residual_adapter", "tower": "vision", "after": [0]},
    }
    with run_tiny(subject, backbone={**subject.table, "use": subject.name}, stages=stages) as trial:
        if bad := [name for name, change in trial.changes.items() if change != change]:
            raise Found(f"after two steps these are not finite: {', '.join(bad)}")
        for name in stages:
            if not any(change for key, change in trial.changes.items() if key.startswith(f"sites.stages.{name}.")):
                raise Found(f"two steps of training changed no weight of the stage {name}")
        after = trial.run.model.backbone.state_dict()
        if moved := [name for name, value in trial.backbone.items() if not after[name].equal(value)]:
            raise Found(f"the run changed weights of the backbone: {', '.join(moved[:3])}")
