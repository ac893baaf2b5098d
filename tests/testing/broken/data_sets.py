"""A plugin file of data sets that each break one promise: what a good one gives, changed in one thing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from aaclip_kit import DataSet, Options, Sample, hookimpl

Change = Callable[[DataSet], Any]
BROKEN: dict[str, tuple[Change, str]] = {}
"""The change, and the check that catches it."""


class GoodOptions(Options):
    """The classes of a folder in the MVTec layout."""

    root: Annotated[Path, Field(strict=False)] = Field(description="folder of classes")


class Undescribed(GoodOptions):
    """One of its options is not explained."""

    more: bool = False


def read(options: Any) -> DataSet:
    """Keeps every promise."""
    found = []
    for image in sorted(options.root.glob("*/test/*/*.png")):
        name, defect = image.parts[-4], image.parts[-2]
        mask = None if defect == "good" else options.root / name / "ground_truth" / defect / f"{image.stem}_mask.png"
        found.append(Sample(image, name, 0 if mask is None else 1, mask, defect))
    return DataSet(tuple(found), {sample.class_name: sample.class_name.replace("_", " ") for sample in found})


def read_broken(change: Change, options: Any) -> Any:
    return change(read(options))


def breaks(check: str) -> Callable[[Change], Change]:
    def note(change: Change) -> Change:
        BROKEN[change.__name__] = change, check
        return change

    return note


def with_first(data: DataSet, kind: int, **changes: Any) -> DataSet:
    """The first normal (0) or anomalous (1) sample changed."""
    place = next(number for number, sample in enumerate(data.samples) if sample.label == kind)
    samples = list(data.samples)
    samples[place] = replace(samples[place], **changes)
    return replace(data, samples=tuple(samples))


def written(data: DataSet, name: str, content: np.ndarray) -> Path:
    """A picture beside the classes."""
    path = data.samples[0].image.parents[3] / name
    Image.fromarray(content).save(path)
    return path


@breaks("D2")
def no_data_set(data: DataSet) -> Any:
    return list(data.samples)


@breaks("D2")
def empty(data: DataSet) -> Any:
    return replace(data, samples=())


@breaks("D2")
def a_list(data: DataSet) -> Any:
    return replace(data, samples=list(data.samples))  # type: ignore[arg-type]


@breaks("D2")
def unknown_domain(data: DataSet) -> Any:
    return replace(data, domain="food")  # type: ignore[arg-type]


@breaks("D2")
def text_for_a_path(data: DataSet) -> Any:
    return with_first(data, 0, image="x.png")


@breaks("D2")
def texts_for_faults(data: DataSet) -> Any:
    return replace(data, faults=("x.png is damaged",))  # type: ignore[arg-type]


@breaks("D3")
def label_of_2(data: DataSet) -> Any:
    return with_first(data, 1, label=2)


@breaks("D3")
def label_of_true(data: DataSet) -> Any:
    return with_first(data, 1, label=True)


@breaks("D8")
def normal_with_a_mask_of_something(data: DataSet) -> Any:
    return with_first(data, 1, label=0)


@breaks("D4")
def path_for_a_class(data: DataSet) -> Any:
    return replace(with_first(data, 0, class_name="a/b"), real_names={**data.real_names, "a/b": "cloth"})


@breaks("D4")
def blank_class(data: DataSet) -> Any:
    return replace(with_first(data, 0, class_name=" "), real_names={**data.real_names, " ": "cloth"})


@breaks("D5")
def no_real_name(data: DataSet) -> Any:
    return replace(data, real_names={"red_cloth": "red cloth"})


@breaks("D5")
def real_name_of_signs(data: DataSet) -> Any:
    return replace(data, real_names={**data.real_names, "green_wood": "---"})


@breaks("D6")
def shuffled(data: DataSet) -> Any:
    return replace(data, samples=tuple(random.sample(data.samples, len(data.samples))))


@breaks("D6")
def grows(data: DataSet) -> Any:
    number = random.randrange(10**9)
    return replace(data, samples=(*data.samples, replace(data.samples[0], image=Path(f"{number}.png"))))


@breaks("D7")
def twice(data: DataSet) -> Any:
    return replace(data, samples=data.samples * 2)


@breaks("D7")
def image_for_a_mask(data: DataSet) -> Any:
    return with_first(data, 1, mask=data.samples[0].image)


@breaks("D8")
def missing_image(data: DataSet) -> Any:
    return with_first(data, 0, image=Path("none.png"))


@breaks("D8")
def no_picture(data: DataSet) -> Any:
    path = data.samples[0].image.parents[3] / "text.png"
    path.write_text("no picture")
    return with_first(data, 0, image=path)


@breaks("D8")
def small_mask(data: DataSet) -> Any:
    return with_first(data, 1, mask=written(data, "small.png", np.full((9, 9), 255, np.uint8)))


@breaks("D9")
def some_masks(data: DataSet) -> Any:
    return with_first(data, 1, mask=None)


@breaks("D9")
def black_mask(data: DataSet) -> Any:
    return with_first(data, 1, mask=written(data, "black.png", np.zeros((40, 40), np.uint8)))


@breaks("D10")
def too_many_words(data: DataSet) -> Any:
    return replace(data, real_names=dict.fromkeys(data.real_names, "very long name " * 40))


CAUGHT_BY = {"undescribed": "D1", **{name: check for name, (_, check) in BROKEN.items()}}


@hookimpl
def register_data_sets(register: Any) -> None:
    register("good", read, GoodOptions)
    register("undescribed", read, Undescribed)
    for name, (change, _) in BROKEN.items():
        register(name, partial(read_broken, change), GoodOptions)
