"""How hard the drawn defects are for two rules that know nothing: `python -m tools.pretraining.difficulty`.

Darkness scores a pixel by its negative grey level; distance by how far its colour lies from the image's mean colour, in
standard deviations of each channel. Both maps are smoothed; an image scores its map's maximum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from aaclip_kit_plugins.synthetic import TEST_SURFACES, VALIDATION_SURFACES, Drawing, defects_of, draw
from aaclip_kit_plugins.synthetic.fields import Field
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

SMOOTHING = 2.0  # pixels at 112


def darkness(image: NDArray[np.uint8]) -> Field:
    """Smoothed negative grey level, [S, S]."""
    return np.asarray(gaussian_filter(-image.mean(-1, dtype=np.float32), SMOOTHING), np.float32)


def distance(image: NDArray[np.uint8]) -> Field:
    """Smoothed distance from the image's mean colour in standard deviations of each channel, [S, S]."""
    pixels = image.astype(np.float32)
    scaled = (pixels - pixels.mean((0, 1))) / (pixels.std((0, 1)) + 1.0)
    return np.asarray(gaussian_filter(np.sqrt((scaled**2).mean(-1)), SMOOTHING), np.float32)


RULES: dict[str, Callable[[NDArray[np.uint8]], Field]] = {"darkness": darkness, "distance": distance}


def auroc(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks, ties counted half; not a number when one label is missing."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def sample(surface: str, count: int, size: int = 112, first_seed: int = 0) -> list[Drawing]:
    """`count` drawings of a surface, every other one with a defect, the kinds in turn."""
    kinds = defects_of(surface)
    return [draw(surface, first_seed + k, kinds[(k // 2) % len(kinds)] if k % 2 else None, size) for k in range(count)]


def difficulty(surfaces: tuple[str, ...], count: int = 100) -> dict[str, tuple[float, float]]:
    """Rule -> mean over the surfaces of (pixel AUROC, image AUROC)."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for surface in surfaces:
        drawings = sample(surface, count)
        masks = np.stack([d.mask for d in drawings])
        for name, rule in RULES.items():
            maps = np.stack([rule(d.image) for d in drawings])
            pixel = auroc(maps.ravel(), masks.ravel())
            figures[name].append((pixel, auroc(maps.max((1, 2)), np.asarray(masks.any((1, 2))))))
    return {name: (float(np.mean([f[0] for f in v])), float(np.mean([f[1] for f in v]))) for name, v in figures.items()}


def main() -> None:
    """Print the figures of both splits."""
    for split, surfaces in (("validation", VALIDATION_SURFACES), ("test", TEST_SURFACES)):
        for name, (pixel, image) in difficulty(surfaces).items():
            print(f"{split:10} {name:9} pixel AUROC {pixel:.3f}  image AUROC {image:.3f}")


if __name__ == "__main__":
    main()
