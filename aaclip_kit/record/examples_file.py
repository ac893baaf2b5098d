"""The test images that a report shows, in one file of the run folder: `cases.npz`."""

import json
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from ..contracts.errors import UserError
from ..files.plain_file import check_plain

_ARRAYS: Final = ("pictures", "masks", "grids")
_MOST_BYTES: Final = 2 << 30
"""A run of a thousand examples has a fifth of it."""


@dataclass(frozen=True)
class Example:
    """One test image: where it came from, why it is shown, and what each loop said about it.

    `masked` says whether its mask is known (a normal image's is, being empty). `chosen` holds "even" and what the
    ranking made of the image, such as "best anomalous". `quality` is the pixel AP of this image alone, None where it
    has no marked pixel; `scores` are image scores. Both have one value a loop.
    """

    class_name: str
    image: str
    label: int
    defect: str | None
    _: KW_ONLY
    masked: bool
    chosen: tuple[str, ...]
    quality: tuple[float | None, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ExamplesFile:
    """All examples of a run with their pictures, and the colour scale (lowest, highest value) that they share.

    `masks` is False everywhere for an image whose mask is not known; `loops` numbers the maps.
    """

    examples: tuple[Example, ...]
    loops: tuple[int, ...]
    scale: tuple[float, float]
    rule: str
    pictures: UInt8[np.ndarray, "n S S 3"]
    masks: Bool[np.ndarray, "n S S"]
    grids: Float32[np.ndarray, "n loops G G"]

    def write(self, path: Path) -> None:
        """Write the file; equal examples are equal bytes."""
        cases = [asdict(example) for example in self.examples]
        about = {"loops": self.loops, "scale": self.scale, "rule": self.rule, "cases": cases}
        with path.open("wb") as file:
            arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises `UserError` for one that is damaged."""
        try:
            check_plain(path, most=_MOST_BYTES)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if sum(part.file_size for part in stored.zip.infolist()) > _MOST_BYTES:
                    raise ValueError(f"it holds more than {_MOST_BYTES:,} bytes")
                about: dict[str, Any] = json.loads(str(stored["about"]))
                arrays = {name: stored[name] for name in _ARRAYS}
            examples, loops = tuple(map(_example, about["cases"])), tuple(about["loops"])
            low, high = map(float, about["scale"])
            return cls(examples=examples, loops=loops, scale=(low, high), rule=str(about["rule"]), **arrays)
        # zipfile and numpy report damage with exceptions of many kinds.
        except Exception as error:
            raise UserError(f"is damaged ({error})", where=str(path), fix="remove it") from error


def _example(record: dict[str, Any]) -> Example:
    lists = {name: tuple(record[name]) for name in ("chosen", "quality", "scores")}
    return Example(**{**record, **lists})
