"""What a memory of normal images adds to the time of the backbone, with random weights; and the embedded model's pace.

python benchmarks/reference.py [--images 8] [--repetitions 3]

ViT-L/14 at 518 px: seconds an image of the walk and of the answer, with all patches and with a tenth of them, and what
filling the memory takes. The embedded model: images a second on one core, from the file to the score. Exits 1 where a
ratio is worse than what is asked.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from clock import Clock
from machine import describe
from PIL import Image

from aaclip_kit import Backbone, DataSet, ImageTokens, Reference, ReferenceSetting, Sample
from aaclip_kit.data.scan import scan_dataset
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.evaluation.references import remember
from aaclip_kit.experiment import load
from aaclip_kit.model.build import default_levels
from aaclip_kit.model.image_tower import ImageSide
from aaclip_kit.model.stage_slots import StageSlots
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble

ASKED: Final = {1.0: 0.20, 0.1: 0.05}
"""Most that the answer may add to the walk, by the share of the patches that is kept."""

PACE: Final = 25.0
"""Images a second that the embedded model is asked for on one core."""

BASE: Final = Path(__file__).parents[1] / "experiments" / "base.toml"
CLOCK: Final = Clock(torch.device("cpu"))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="references")
    parser.add_argument("--repetitions", type=int, default=3, help="tries, of which the best counts")
    arguments = parser.parse_args()
    print(describe())
    good = large(arguments.images, arguments.repetitions)
    sys.exit(0 if pace(arguments.images, arguments.repetitions) and good else 1)


@torch.no_grad()
def large(images: int, tries: int) -> bool:
    """Print the ratios of the large model; whether each is as asked."""
    component = discover().get("backbone", "open_clip")
    options = {"model": "ViT-L-14-336", "pretrained": "none", "image_size": 518}
    backbone: Backbone = component.build(component.options.model_validate(options)).eval()
    levels, good = default_levels(backbone.vision.depth), True
    side, picture = ImageSide(backbone, StageSlots(), levels, "tokens"), torch.randn(1, 3, 518, 518)
    walked = best(lambda: side.untouched(picture, memory_of(backbone, 1.0).reads, levels), tries)
    print(f"{options['model']}, 518 px: {walked:.2f} s an image")
    for share, asked in ASKED.items():
        memory = memory_of(backbone, share)
        bank = memory.fill(noise(memory, backbone, seed) for seed in range(images))
        filled = CLOCK.seconds(partial(memory.fill, [noise(memory, backbone, 0)]))
        asks = noise(memory, backbone, 100)
        answered = best(partial(memory.answer, bank, asks), tries)
        size = sum(one.nbytes for one in bank.values()) / 1e6
        print(
            f"coreset {share:g}, {images} references: {answered:.3f} s an image, {answered / walked:.1%} of the walk "
            f"(asked {asked:.0%}); bank {size:.0f} MB, one image into it {filled:.2f} s",
            flush=True,
        )
        good &= answered / walked <= asked
    return good


def memory_of(backbone: Backbone, coreset: float) -> Reference:
    """The built-in memory at the four quarters of the depth."""
    component = discover().get("reference", "patch_memory")
    setting = ReferenceSetting(backbone=backbone, levels=default_levels(backbone.vision.depth))
    built: Reference = component.build(component.options.model_validate({"coreset": coreset}), setting)
    return built


def noise(memory: Reference, backbone: Backbone, seed: int) -> ImageTokens:
    """Tokens of an image."""
    drawn = torch.Generator().manual_seed(seed)
    shape = (1, backbone.grid**2, backbone.vision.width)
    return ImageTokens({level: torch.randn(shape, generator=drawn) for level in memory.levels})


def best(work: Callable[[], object], tries: int) -> float:
    """The shortest of some tries after one that does not count."""
    work()
    return min(CLOCK.seconds(work) for _ in range(tries))


def pace(images: int, tries: int) -> bool:
    """Print how many images a second the embedded model scores on one core, reading included."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tested, normal = (_photographs(Path(folder) / name, seed, 64) for seed, name in enumerate(("test", "normal")))
        tables = ["reference.use=patch_memory", "data.reference.use=synthetic", "data.reference.split=test"]
        quick = ["compute.recompute=off", "device=cpu", "data.reference.seed=1", "data.reference.shots=1"]
        run = assemble(load(BASE, discover(), [*tables, *quick, 'data.reference.classes=["wood"]', *_WOOD]))
        known = DataSet(normal.samples[:images], normal.real_names)
        references = remember(run.model, run.compute_device, run.pixels, known, 0)
        evaluator = Evaluator.of(run.model, run.compute_device, run.pixels, run.experiment.file, run.ranks)
        evaluator = evaluator.remembering(references, known, frozenset(), trained=False)
        seconds = best(lambda: list(evaluator.scored_batches(tested, "wood", frozenset(), trained=False)), tries)
    rate = len(tested.samples) / seconds
    print(f"embedded, {images} references, photographs of 800 x 600: {rate:.1f} images/s on one core (asked {PACE:g})")
    return rate >= PACE


_WOOD: Final = ('data.test=[{use = "synthetic", split = "test", classes = ["wood"], images_per_class = 2}]',)


def _photographs(folder: Path, seed: int, count: int) -> DataSet:
    folder.mkdir()
    random, samples = np.random.default_rng(seed), []
    for number in range(count):
        coarse = random.integers(0, 255, (60, 80, 3), np.uint8)
        file = folder / f"{number}.jpg"
        Image.fromarray(coarse).resize((800, 600)).save(file, quality=90)
        samples.append(Sample(file, "wood", 0))
    return scan_dataset(DataSet(tuple(samples), {"wood": "wood"})).data


if __name__ == "__main__":
    main()
