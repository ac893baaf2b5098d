"""One image through ViT-L/14-336 at 518 px on a CPU, with random weights: the score, the time, the memory.

python benchmarks/large_model.py [IMAGE]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import describe
from PIL import Image

from aaclip_kit import DataSet, Sample
from aaclip_kit.data.loader import Pixels
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.experiment import load
from aaclip_kit.model.build import build_model
from aaclip_kit.plugin_host.discovery import discover

FILE = Path(__file__).parents[1] / "experiments" / "vitl_mvtec_to_visa.toml"


def main() -> None:
    """Assemble the published setting without its weights and score one image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, nargs="?", help="an image; by default one of noise")
    image = parser.parse_args().image or _noise()
    print(describe())
    experiment = load(FILE, discover(), ["backbone.pretrained=none", "device=cpu", "precision=fp32", "workers=0"])
    data = DataSet((Sample(image, "object", 0),), {"object": "object"})
    torch.manual_seed(0)
    start = time.perf_counter()
    model = build_model(experiment, data.real_names)
    built = time.perf_counter()
    backbone = model.backbone
    pixels = Pixels.of(backbone)
    evaluator = Evaluator(
        model,
        ComputeDevice.choose("cpu", "fp32"),
        pixels,
        table=experiment.file.evaluation,
        switches=experiment.switches,
    )
    (found,) = evaluator.scored_batches(data, "object", {"vision"}, trained=True)
    scored = time.perf_counter()
    print(f"map {found.maps.shape[1:]}, largest value {found.peaks[0]:.3f}, detection score {found.detection[0]:.6f}")
    print(f"built in {built - start:.1f} s, scored in {scored - built:.1f} s")
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")


def _noise() -> Path:
    path = Path(tempfile.mkdtemp()) / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)).save(path)
    return path


if __name__ == "__main__":
    main()
