"""Embeddings of all windows of an image against the machine's matmul peak, with random weights.

python benchmarks/windows.py [--images 4] [--repetitions 3] [--device cpu]

A line a model: seconds of each side of windows, and the share of the peak by the count of `operations.all_windows`. The
peak is measured before and after each, the larger of the two counts. Exits 1 where a share is below what is asked.
"""

import argparse
import sys
from typing import Final

import torch
from clock import Clock
from machine import describe
from operations import all_windows

from aaclip_kit import Backbone
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.model.windows import window_embeddings
from aaclip_kit.plugin_host.discovery import discover

MODELS: Final = {"ViT-B-16-plus-240": 240, "ViT-L-14-336": 224}
"""Image side of each model."""

SIDES: Final = (2, 3)
ASKED: Final = 0.55


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="images at once; training reads four")
    parser.add_argument("--repetitions", type=int, default=3, help="tries, of which the best counts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    print(describe())
    device = ComputeDevice.choose(arguments.device, "auto")
    shares = [
        share(name, side, device, images=arguments.images, tries=arguments.repetitions)
        for name in MODELS
        for side in SIDES
    ]
    sys.exit(1 if min(shares) < ASKED else 0)


@torch.no_grad()
def share(name: str, side: int, device: ComputeDevice, *, images: int, tries: int) -> float:
    """Print and return the share of the peak that embeddings of one side of windows reach."""
    backbone, clock = backbone_of(name).to(device.device), Clock(device.device)
    precision = torch.float32 if device.precision == "fp32" else torch.bfloat16
    noise = torch.randn(images, 3, backbone.image_size, backbone.image_size, device=device.device)
    with device.autocast():
        embedded = backbone.embed_image(noise)
        peak, times = clock.matmul_peak(precision), []
        for _ in range(tries):
            times.append(clock.seconds(lambda: window_embeddings(backbone, embedded, side)))
        peak = max(peak, clock.matmul_peak(precision))
    rate = images * all_windows(backbone, side).forward / min(times)
    count = (backbone.grid - side + 1) ** 2
    print(
        f"{name}, {backbone.image_size} px, {images} images, {count} windows of {side} x {side}: {min(times):.2f} s, "
        f"{rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s, {rate / peak:.0%} (asked {ASKED:.0%})",
        flush=True,
    )
    return rate / peak


def backbone_of(name: str) -> Backbone:
    """The model with random weights."""
    component = discover().get("backbone", "open_clip")
    options = {"model": name, "pretrained": "none", "image_size": MODELS[name]}
    built: Backbone = component.build(component.options.model_validate(options))
    return built


if __name__ == "__main__":
    main()
