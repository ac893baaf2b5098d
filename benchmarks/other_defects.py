"""Validation textures with defects that no generator of the toolkit draws: where rates and epochs are chosen.

python benchmarks/other_defects.py FOLDER [--seed 7]

Writes a folder in the MVTec layout: each normal picture of the main job's validation classes, and two copies of it with
a blob, a branching crack, pits or scratches, filled by warping, shading, tint, noise, smoothing or a turned copy. The
embedded model is pretrained on the defects of the toolkit's own generators; what training unlearns shows on others.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from aaclip_kit_plugins.blended_data import BlendedOptions, read_blended
from aaclip_kit_plugins.synthetic_data import SyntheticOptions, read_synthetic
from PIL import Image
from scipy import ndimage

from aaclip_kit import DataSet

Mask = np.ndarray
Random = np.random.Generator

FILLS: Final = {
    "blob": ("warp", "tint", "noise", "smooth", "turned", "shade"),
    "branch": ("shade",),
    "pits": ("shade", "tint"),
    "scratches": ("shade", "tint"),
}
"""What each shape is filled with."""


def main() -> None:
    """Write the folder and say how many pictures there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    drawn = read_synthetic(SyntheticOptions(split="validation", images_per_class=20))
    blended = read_blended(BlendedOptions(split="validation", images_per_class=30))
    random, written = np.random.default_rng(arguments.seed), 0
    for data in (drawn, blended):
        for name in sorted(data.classes):
            written += write_class(arguments.folder / name, data, name, random)
    print(f"{written} anomalous pictures in {arguments.folder}")


def write_class(folder: Path, data: DataSet, name: str, random: Random) -> int:
    """Write a class: its normal pictures, and two anomalous copies of each with their masks."""
    places = [folder / part for part in ("test/good", "test/other", "ground_truth/other")]
    for place in places:
        place.mkdir(parents=True)
    normal = [sample.image for sample in data.samples if sample.class_name == name and not sample.label]
    for number, path in enumerate(normal):
        picture = np.asarray(Image.open(path).convert("RGB"), float)
        _save(places[0] / f"{number}.png", picture)
        for copy in range(2):
            changed, mask = with_defect(picture, random)
            _save(places[1] / f"{number}_{copy}.png", changed)
            _save(places[2] / f"{number}_{copy}_mask.png", 255.0 * mask)
    return 2 * len(normal)


def with_defect(picture: np.ndarray, random: Random) -> tuple[np.ndarray, Mask]:
    """The picture with one defect, half of the time under camera noise, and the defect's mask."""
    shape = str(random.choice(list(FILLS)))
    mask = {"blob": blob, "branch": branch, "pits": pits, "scratches": scratches}[shape](len(picture), random)
    changed = filled(picture, mask, str(random.choice(FILLS[shape])), random)
    return (changed + 3 * random.normal(size=changed.shape) if random.random() < 0.5 else changed), mask


def clouds(side: int, cells: int, random: Random) -> np.ndarray:
    """Noise of three octaves, the coarsest of `cells` to a side."""
    total = np.zeros((side, side))
    for octave in range(3):
        grid = random.normal(size=(cells * 2**octave + 3,) * 2)
        total += ndimage.zoom(grid, side / (cells * 2**octave), order=3)[:side, :side] / 2**octave
    return total


def blob(side: int, random: Random) -> Mask:
    """A patch of 1 to 8 % of the picture with a cloud's outline."""
    (y, x), reach = random.uniform(0.2, 0.8, 2) * side, side * random.uniform(0.08, 0.2)
    rows, columns = np.mgrid[:side, :side]
    values = 0.6 * clouds(side, int(random.integers(2, 5)), random)
    values -= ((rows - y) ** 2 + (columns - x) ** 2) / (2 * reach**2)
    return values > np.quantile(values, 1 - random.uniform(0.01, 0.08))


def branch(side: int, random: Random) -> Mask:
    """A crack that wanders and forks."""
    mask = np.zeros((side, side), bool)
    ends = [(*random.uniform(0.1, 0.9, 2) * side, random.uniform(0, 2 * np.pi), int(side * random.uniform(0.4, 1)))]
    while ends:
        y, x, angle, steps = ends.pop()
        for _ in range(steps):
            angle += 0.25 * random.normal()
            y, x = y + np.sin(angle), x + np.cos(angle)
            if not (0 <= y < side and 0 <= x < side):
                break
            mask[int(y), int(x)] = True
            if random.random() < 0.02 and len(ends) < 4:
                ends.append((y, x, angle + random.choice([-1, 1]) * random.uniform(0.4, 1.2), steps // 3))
    return _wider(mask, int(random.integers(0, 3)))


def pits(side: int, random: Random) -> Mask:
    """A cluster of small round spots."""
    centre, (rows, columns) = random.uniform(0.2, 0.8, 2) * side, np.mgrid[:side, :side]
    mask = np.zeros((side, side), bool)
    for _ in range(int(random.integers(3, 12))):
        y, x = centre + 0.1 * side * random.normal(size=2)
        mask |= (rows - y) ** 2 + (columns - x) ** 2 < (side * random.uniform(0.01, 0.03)) ** 2
    return mask


def scratches(side: int, random: Random) -> Mask:
    """One to five straight lines, nearly parallel."""
    mask, angle, along = np.zeros((side, side), bool), random.uniform(0, np.pi), np.linspace(-0.5, 0.5, 4 * side)
    for _ in range(int(random.integers(1, 6))):
        (y, x), turned = random.uniform(0.2, 0.8, 2) * side, angle + 0.1 * random.normal()
        length = side * random.uniform(0.15, 0.5)
        rows = (y + along * length * np.sin(turned)).astype(int)
        columns = (x + along * length * np.cos(turned)).astype(int)
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        mask[rows[inside], columns[inside]] = True
    return _wider(mask, int(random.integers(0, 2)))


def filled(picture: np.ndarray, mask: Mask, fill: str, random: Random) -> np.ndarray:
    """The picture with something else behind a softened mask."""
    side, contrast = len(picture), picture.reshape(-1, 3).std(axis=0).mean() + 4
    soft = ndimage.gaussian_filter(mask.astype(float), random.uniform(0.4, 1.2))
    soft = (soft / max(soft.max(), 1e-6))[..., None]
    if fill == "warp":
        moves = [0.06 * side * soft[..., 0] * clouds(side, 4, random) for _ in range(2)]
        places = [place + move for place, move in zip(np.mgrid[:side, :side], moves, strict=True)]
        channels = [ndimage.map_coordinates(picture[..., one], places, order=1, mode="reflect") for one in range(3)]
        return np.stack(channels, axis=-1)
    others: dict[str, Callable[[], np.ndarray]] = {
        "shade": lambda: picture + (random.choice([0.0, 255.0], p=[0.6, 0.4]) - picture) * random.uniform(0.25, 0.7),
        "tint": lambda: picture + 1.5 * contrast * random.normal(size=3),
        "noise": lambda: picture.mean(axis=(0, 1)) + 1.2 * contrast * clouds(side, 16, random)[..., None],
        "smooth": lambda: ndimage.gaussian_filter(picture, (0.04 * side, 0.04 * side, 0)),
        "turned": lambda: np.rot90(picture, int(random.integers(1, 4))),
    }
    return picture * (1 - soft) + others[fill]() * soft


def _wider(mask: Mask, times: int) -> Mask:
    return ndimage.binary_dilation(mask, iterations=times) if times else mask


def _save(path: Path, values: np.ndarray) -> None:
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
