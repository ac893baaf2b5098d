"""The data-set contract: a list of files with labels. Reading pixels is the engine's."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from .errors import UserError
from .options import Options

Domain = Literal["industrial", "medical"]
"""What the images show; sets how strongly maps are blurred."""

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Endings, in lower case, of the files that count as images where a folder is searched for them."""


def is_image_file(path: Path) -> bool:
    """Whether a file's name ends as an image's does, in either case; what is in it is seen when it is decoded."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


MOST_LETTERS = 200
"""Characters of the longest name of a class, and of what prompts call it."""


@dataclass(frozen=True)
class Sample:
    """One image. `label` is 1 for an anomalous one; `mask` is None where there is none.

    A normal image needs no mask: one that it has must be all black, and is not used. `ignore` is the value of the
    mask's pixels that metrics and losses leave out. `checksums` are the engine's: SHA-256 of the image's file, and of
    the mask's, as they were when the data were looked through.
    """

    image: Path
    class_name: str
    label: Literal[0, 1]
    mask: Path | None = None
    defect: str | None = None
    ignore: int | None = None
    checksums: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class DataSet:
    """Samples, the real name of each class for the prompts, and the domain that sets the scoring blur.

    `name` is that of a published data set, None for own data. `faults` has one message for each image that should be
    among the samples and cannot be; the engine stops at them, or goes on without, as the experiment says. `notes` are
    lines for whoever reads the run's output. `not_comparable` says why results on these samples may not be set beside
    figures that are published for the data set.
    """

    samples: tuple[Sample, ...]
    real_names: dict[str, str]
    domain: Domain = "industrial"
    name: str | None = None
    faults: tuple[UserError, ...] = ()
    notes: tuple[str, ...] = ()
    not_comparable: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their first sample."""
        return tuple(dict.fromkeys(sample.class_name for sample in self.samples))


@dataclass(frozen=True, kw_only=True)
class DataOrigin:
    """Where a public data set is from. A data set's factory may state one, as its attribute `origin`.

    `aakit data fetch` reads it: `page` is the publishers' page, `licence` what they state there, `url` their archive
    where its address is known to last, `sha256` that of the archive, and `split` the place of their list of a split.
    """

    title: str
    page: str
    licence: str | None = None
    url: str | None = None
    sha256: str | None = None
    split: str | None = None


class Shots(Options):
    """How many images of each class are drawn, by the experiment's seed."""

    normal: int = Field(ge=0, description="normal images of each class")
    anomalous: int = Field(ge=0, description="anomalous images of each class")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.normal + self.anomalous:
            raise ValueError("no image is asked for: normal and anomalous are both 0")
        return self


class Selection(Options):
    """Which images of a data set are used, and its label: keys of the engine's own in each [data.ROLE]."""

    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="images and manifest rows that are faulty: stop and name them, or go on without them"
    )
    ignore: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="value, or entry of the palette, of mask pixels that are neither normal nor anomalous, such as 255 "
        "for a doubtful border: metrics and losses leave them out; a row's own value in a list goes before it",
    )
    shots: Shots | None = Field(
        None, description="{normal = k, anomalous = k}: so many images of each class, drawn by seed; by default all"
    )
    label: str | None = Field(
        None,
        min_length=1,
        max_length=MOST_LETTERS,
        description="name of the data set in results, where its role has several; by default what `use` says, with a "
        "number where two are alike",
    )

    @field_validator("label")
    @classmethod
    def _can_be_shown(cls, label: str | None) -> str | None:
        if label is not None and not (label.isprintable() and label.strip()):
            raise ValueError("holds what cannot be shown")
        return label


OWN_KEYS: dict[str, tuple[str, ...]] = {"losses": ("weight",), "data": tuple(Selection.model_fields)}
"""Keys that the engine takes out of every component's table of a group, before the plugin's options are checked."""
