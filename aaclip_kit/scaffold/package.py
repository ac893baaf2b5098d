"""The package that is to be written: its kind, its names, and where its author begins."""

import re
from dataclasses import dataclass

from ..plugin_host.registry import Kind

_FIRST: dict[Kind, str] = {
    "attention-stage": "stage.py",
    "backbone": "towers.py",
    "loss": "loss.py",
    "scheduler": "schedule.py",
    "data-set": "read.py",
}


@dataclass(frozen=True)
class Package:
    """A new package of one component. `name` is the distribution's, as the user gave it."""

    name: str
    kind: Kind

    @property
    def module(self) -> str:
        """Name of the import package, and of the component: lower case, with underscores."""
        return re.sub(r"[-_.]+", "_", self.name).lower()

    @property
    def class_name(self) -> str:
        """Name of the component's class; that of its options has Options behind it."""
        return "".join(part[:1].upper() + part[1:] for part in self.module.split("_"))

    @property
    def first(self) -> str:
        """The file that does the work, which its author edits first."""
        return f"{self.module}/{_FIRST[self.kind]}"
