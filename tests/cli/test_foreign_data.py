"""Data sets of somebody else's plugin: the engine trusts none of what they promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..command import Ran
from ..strangers import Strangers, strangers_in

PLUGIN = '''
from pathlib import Path
from typing import Annotated
from pydantic import Field
from aaclip_kit import DataSet, Options, Sample, hookimpl

class ForeignOptions(Options):
    """One class of squares, with something missing."""
    root: Annotated[Path, Field(strict=False)]
    lacks: str

def read(options):
    samples = []
    for kind in ("good", "spot"):
        for image in sorted((options.root / "test" / kind).iterdir()):
            mask = options.root / "ground_truth" / kind / f"{image.stem}_mask.png" if kind == "spot" else None
            samples.append(Sample(image, "square", int(kind == "spot"), None if options.lacks == "masks" else mask))
    names = {} if options.lacks == "names" else {"square": "square"}
    return DataSet(() if options.lacks == "images" else tuple(samples), names)

@hookimpl
def register_data_sets(register):
    register("foreign", read, ForeignOptions)
'''


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strangers]:
    folder = tmp_path / "site"
    folder.mkdir()
    with strangers_in(folder, monkeypatch) as found:
        found.add("foreign_data", PLUGIN)
        yield found


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("masks", "data.train: 4 anomalous images have no mask"),
        ("names", "data.train: the data set gives no real name for its class 'square'"),
        ("images", "data.train: the data set has no images"),
    ],
)
def test_what_training_data_lack_is_found_before_the_run(
    refused: Callable[..., Ran], strangers: Strangers, defects: Path, lacks: str, said: str
) -> None:
    overrides = ["data.train.use=foreign", f"data.train.root={defects / 'red_cloth'}", f"data.train.lacks={lacks}"]
    assert said in refused(*(word for one in overrides for word in ("--set", one))).err
