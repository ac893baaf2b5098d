"""10^8 pixels through the metrics of one class: time and peak memory. Exits 1 where either is more than asked.

python benchmarks/metrics.py [--side 518] [--pixels 100000000]
"""

import argparse
import resource
import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from aaclip_kit.evaluation.class_metrics import ClassMetrics

DRAWN = 16
"""Different maps; each image is one of them, moved and turned, for drawing takes longer than counting."""


def main() -> None:
    """Count the images, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=518, help="side of a map")
    parser.add_argument("--pixels", type=int, default=10**8, help="pixels in all")
    arguments = parser.parse_args()
    images = -(-arguments.pixels // arguments.side**2)
    before = peak_memory()
    found, seconds, sorting = counted(images, arguments.side)
    start = time.perf_counter()
    values = found.values()
    seconds += time.perf_counter() - start
    peak = peak_memory()
    # Not before: torch, which measures the machine, takes several hundred MB itself.
    from machine import describe

    print(describe())
    print(f"{images} images, {images * arguments.side**2:,} pixels, {2**found.pixels.shift} float32 numbers a bin")
    print(", ".join(f"{metric} {value:.4f}" for metric, value in values.items()))
    print(f"{seconds:.1f} s (asked: at most 60), {seconds / sorting:.1f} times as long as sorting each map once")
    print(f"peak memory {peak / 1e6:.0f} MB (asked: at most 500), {before / 1e6:.0f} MB of it before the first image")
    sys.exit(seconds > 60 or peak > 500e6)


def counted(images: int, side: int) -> tuple[ClassMetrics, float, float]:
    """Metrics of so many images, the seconds that they took, and those that numpy takes to sort the same maps.

    Every other image has up to three anomalous regions.
    """
    generator = np.random.default_rng(0)
    drawn = [gaussian_filter(generator.normal(size=(side, side)), 6).astype(np.float32) * 60 for _ in range(DRAWN)]
    found, seconds, sorting = ClassMetrics(), 0.0, 0.0
    for number in range(images):
        mask = np.zeros((side, side), bool)
        if number % 2:
            for row, column, height, width in generator.integers(5, side // 4, (3, 4)):
                mask[3 * row : 3 * row + height, 3 * column : 3 * column + width] = True
        anomaly_map = np.rot90(drawn[number % DRAWN], number // DRAWN) + generator.normal(scale=0.3) + 3 * mask
        anomaly_map = anomaly_map.astype(np.float32)
        start = time.perf_counter()
        found.update(anomaly_map[None], mask[None], anomaly_map.max(keepdims=True)[0], np.array([number % 2]))
        seconds += time.perf_counter() - start
        sorting += sorting_time(anomaly_map)
    return found, seconds, sorting


def sorting_time(anomaly_map: np.ndarray) -> float:
    """Seconds to sort a map's values."""
    start = time.perf_counter()
    np.sort(anomaly_map, axis=None)
    return time.perf_counter() - start


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
