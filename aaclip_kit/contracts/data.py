"""The data-set contract: a list of files with labels. Reading pixels is the engine's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Domain = Literal["industrial", "medical"]
"""What the images show; sets how strongly maps are blurred."""


@dataclass(frozen=True)
class Sample:
    """One image. `mask` is None for a normal image; `label` is 1 for an anomalous one."""

    image: Path
    class_name: str
    label: Literal[0, 1]
    mask: Path | None = None
    defect: str | None = None


@dataclass(frozen=True)
class DataSet:
    """Samples, the real name of each class for the prompts, and the domain that sets the scoring blur."""

    samples: tuple[Sample, ...]
    real_names: dict[str, str]
    domain: Domain = "industrial"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their first sample."""
        return tuple(dict.fromkeys(sample.class_name for sample in self.samples))
