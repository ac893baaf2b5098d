"""Photographs that tests make, and what the data sets made of them hold."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aaclip_kit import DataSet


def contents(data: DataSet) -> list[bytes]:
    return [sample.image.read_bytes() + (sample.mask.read_bytes() if sample.mask else b"") for sample in data.samples]


def noise(seed: int, side: int = 128) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(90, 160, (side // 4, side // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def own(folder: Path, count: int, side: int = 128) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(noise(index, side)).save(folder / f"{index}.png")
    return folder
