"""What a checkpoint says of itself, beside its tensors: all that a model is built from."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import safe_open

from ..contracts.data import Domain
from ..contracts.errors import UserError, shortened
from ..contracts.options import TowerName
from ..contracts.reference import NormalScores
from ..evaluation.calibration import Calibration, StoredTiles
from ..files.plain_file import read_json
from ..files.weights_file import check_kind

FORMAT = "aaclip_kit checkpoint 1"

WHICH: Final = "give the folder of aakit teach or of a run, or a checkpoints/loop_N.safetensors"
"""What may be given as a model."""

_NEWER: Final = re.compile(r"aaclip_kit checkpoint ([2-9]|[1-9][0-9]{1,5})")

DIGEST_LENGTH = 16
"""Digits kept of an image's SHA-256: 64 bits tell apart any images that a person could collect."""

_DIGESTS: Final = TypeAdapter(tuple[Annotated[str, Field(pattern=f"^[0-9a-f]{{{DIGEST_LENGTH}}}$")], ...])


class _NewerFormatError(UserError):
    """A format that this version does not know, by a number above its own."""


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from. `experiment` is the experiment's name."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    experiment: str = ""
    loop: Annotated[int, Field(ge=0, le=10**6)] | None = None
    """0 where nothing was trained."""
    imported_from: tuple[str, ...] = ()
    attending: tuple[TowerName, ...] | None = None
    """Towers whose stages with a context acted when the tower last trained; None where that is not known."""
    domain: Domain = "industrial"
    real_names: dict[str, str] = field(default_factory=dict)
    """Real name of each class that the run knew."""
    trained_on: tuple[str, ...] = ()
    """Names of the published data sets that it was trained on, also before the run."""
    unknown_start: bool = False
    """Whether it started from weights that do not say all that they were trained on."""
    reference_tiles: StoredTiles | None = None
    """How the images that it remembers were cut; None for whole ones, and without a memory."""


@dataclass(frozen=True)
class Metadata:
    """`experiment` is the resolved TOML.

    `training_images` are the first digits of each training image's SHA-256, `training_pixels` those of its pixels; a
    checkpoint of an earlier version lacks the latter.
    """

    about: Provenance = Provenance()
    experiment: str | None = None
    calibration: Calibration | None = None
    training_images: tuple[str, ...] = ()
    training_pixels: tuple[str, ...] = ()
    normal_scores: Mapping[str, NormalScores] = field(default_factory=dict)
    """What the head says of the images that are remembered of each class, where there is a memory."""

    @property
    def says_all(self) -> bool:
        """Whether these are all the images that the weights were trained on, as far as it knows."""
        return self.about.loop == 0 or (bool(self.training_images) and not self.about.unknown_start)

    @property
    def seed(self) -> int | None:
        """The seed of the run that trained the weights; None where it is not known, as of imported ones."""
        if self.experiment is None or self.about.imported_from:
            return None
        try:
            seed = tomllib.loads(self.experiment).get("seed")
        except ValueError:
            return None
        return seed if isinstance(seed, int) else None

    def started_from(self, start: "Metadata | None") -> "Metadata":
        """The same, with what the weights that the run started from were trained on, if there were any."""
        if start is None:
            return self
        names = tuple(dict.fromkeys((*start.about.trained_on, *self.about.trained_on)))
        about = replace(self.about, trained_on=names, unknown_start=not start.says_all)
        images = short_digests((*start.training_images, *self.training_images))
        pixels = short_digests((*start.training_pixels, *self.training_pixels))
        return replace(self, about=about, training_images=images, training_pixels=pixels)

    def as_strings(self) -> dict[str, str]:
        """The form in a file; what is unknown is left out."""
        about = {key: value for key, value in asdict(self.about).items() if value is not None}
        strings = {"format": FORMAT, "about": json.dumps(about)}
        if self.experiment is not None:
            strings["experiment"] = self.experiment
        if self.calibration is not None:
            strings["calibration"] = json.dumps(asdict(self.calibration))
        if self.normal_scores:
            strings["normal_scores"] = json.dumps({name: asdict(one) for name, one in self.normal_scores.items()})
        digests = {"training_images": self.training_images, "training_pixels": self.training_pixels}
        return strings | {key: " ".join(values) for key, values in digests.items() if values}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str]) -> "Metadata":
        """What `as_strings` wrote, types and bounds checked; empty without any. Unknown entries are passed over.

        Raises ValueError, or what it is a base of, for an entry that cannot be one; `UserError` for a newer format.
        """
        strings = TypeAdapter(dict[str, str]).validate_python(strings, strict=True)
        if (form := strings.get("format", FORMAT)) != FORMAT:
            if _NEWER.fullmatch(form):
                raise _NewerFormatError(f"was written by a newer version ({form})", fix="pip install -U aaclip-kit")
            raise ValueError(f"its format is {shortened(form, 80)!r}, and this version reads {FORMAT!r}")
        about, calibration = json.loads(strings.get("about", "{}")), strings.get("calibration")
        if isinstance(about, dict) and isinstance(name := about.get("trained_on"), str):  # when there could be one only
            about["trained_on"] = [name]
        images, pixels = (
            _DIGESTS.validate_python(tuple(strings.get(key, "").split()))
            for key in ("training_images", "training_pixels")
        )
        return cls(
            TypeAdapter(Provenance).validate_json(json.dumps(about)),
            strings.get("experiment"),
            None if calibration is None else TypeAdapter(Calibration).validate_json(calibration),
            images,
            pixels,
            TypeAdapter(dict[str, NormalScores]).validate_json(strings.get("normal_scores", "{}")),
        )


def short_digests(digests: Iterable[str]) -> tuple[str, ...]:
    """The first digits of each checksum, sorted."""
    return tuple(sorted(set(map(short, digests))))


def short(digest: str) -> str:
    """The first digits of a checksum."""
    return digest[:DIGEST_LENGTH]


def beside_pickle(path: Path) -> Path:
    """The file of a pickle's metadata."""
    return path.with_name(path.name + ".json")


def read_metadata(path: Path) -> Metadata:
    """Metadata of a checkpoint, empty where it has none. Raises `UserError` for a file that is missing or damaged."""
    if not path.is_file():
        raise UserError("there is no such checkpoint", where=str(path), fix=WHICH)
    check_kind(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return Metadata.from_strings(file.metadata() or {})
        beside = beside_pickle(path)
        return Metadata.from_strings(read_json(beside)) if beside.is_file() else Metadata()
    except _NewerFormatError as error:
        raise UserError(error.problem, where=str(path), fix=error.fix) from None
    except Exception as error:  # a damaged header can raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        problem = f"cannot be read: damaged, or no checkpoint of aaclip_kit ({reason})"
        raise UserError(problem, where=str(path), fix="give a whole checkpoints/loop_N.safetensors") from None
