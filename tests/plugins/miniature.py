"""Miniatures of the public data sets: each layout with two normal images a class and three anomalous ones."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from PIL import Image

WHERE = {
    "visa": ("{c}/Data/Images/Normal/{n}.JPG", "{c}/Data/Images/Anomaly/{n}.JPG", "{c}/Data/Masks/Anomaly/{n}.png"),
    "btad": ("{c}/test/ok/{n}.bmp", "{c}/test/ko/{n}.bmp", "{c}/ground_truth/ko/{n}.png"),
    "medical": ("test/good/img/{n}.png", "test/Ungood/img/{n}.png", "test/Ungood/label/{n}.png"),
    "colon": (None, "images/{n}.png", "masks/{n}.png"),
    "mvtec": ("{c}/test/good/{n}.png", "{c}/test/{d}/{n}.png", "{c}/ground_truth/{d}/{n}_mask.png"),
}
"""Normal image, anomalous image and mask of class c, defect d and stem n."""

MASKED: dict[Path, int] = {}
"""A number that an image and its mask have in common, for every file that was written."""
_numbers = count(1)


def miniature(root: Path, name: str, classes: list[str]) -> None:
    """Write the data set below `root`."""
    normal, anomalous, mask = WHERE[_kind(name)]
    for class_name in classes:
        for number in range(2):
            if normal is not None:
                image(root / normal.format(c=class_name, n=f"{number:03}"), next(_numbers))
        for number, defect in enumerate(("bent", "bent", "torn")):
            pair = next(_numbers)
            for lighter, path in enumerate((anomalous, mask)):
                image(root / path.format(c=class_name, d=defect, n=f"{number:03}"), pair, lighter)


def image(path: Path, number: int, lighter: int = 0) -> None:
    """A picture of 12 x 10 pixels, its colour its number, or a lighter one: no mask is a copy of its image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (12, 10), 1 + (number + lighter) % 255).save(path)
    MASKED[path] = number


def _kind(name: str) -> str:
    if name in ("brain", "liver", "retina"):
        return "medical"
    return name if name in WHERE else "colon" if name.startswith("colon") else "mvtec"
