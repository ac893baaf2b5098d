"""Training of published methods that see frozen features alone, against the naive way: ViT-L/14-336 at 224 px.

python benchmarks/family.py                     both methods
python benchmarks/family.py --only april_gan    one of them

The naive way is what the published code does, written anew: in every epoch all images go through the vision tower,
whose attentions materialise their weights, and learnt prompts through the text tower over all 77 tokens. It leaves out
decoding and the optimiser, which the engine's epochs have. An epoch is one batch; epochs are timed by turns, in one
process.
Exits 1 where a demand is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from clock import Clock
from machine import describe
from naive import Naive, Named, _attention, _block, _unit
from torch import Tensor
from torch.nn import functional
from workload import CLASSES, draw

from aaclip_kit.data.loader import Batch
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble, build_phase, open_feature_store
from aaclip_kit.training.loop_plans import plan_ahead
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

FOLDER = Path(__file__).parents[1] / "experiments" / "methods"
SIZE, BATCH, ROUNDS, LATER = 224, 8, 3, 3
ASKED = {"first": 1.2, "later": 20.0}
"""How many times as fast as a naive epoch the first one must be, and those after it."""


class NaiveAnomalyClip(Naive):
    """Steps of AnomalyCLIP: both streams through the vision tower, then the prompts through the text tower."""

    def loss(self, batch: Batch) -> Tensor:
        """Objective of a batch."""
        levels, embedding = self.streams(batch.images)
        text = _unit(self.prompts()).T
        maps = {level: self._map(_unit(tokens) @ text, batch) for level, tokens in levels.items()}
        logits = _unit(embedding) @ text / self.head.temperature
        made: Named = {"level_probabilities": maps, "detection_logits": logits}
        return self._objective(self.run.losses["text"], batch, made)

    @torch.no_grad()
    def streams(self, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Projected patches of each level, and the class embedding."""
        model, visual = self.run.model, self.clip.visual
        plain = second = model.backbone.embed_image(images)
        levels = {}
        for index, block in enumerate(visual.transformer.resblocks):
            if index >= model.backbone.surgery_start:
                values = functional.linear(block.ln_1(plain), *_value_weights(block.attn))
                second = second + block.attn.out_proj(_attention(values, values, values, block.attn.num_heads)[0])
            plain = _block(block, plain)
            second = second if index >= model.backbone.surgery_start else plain
            if index + 1 in model.levels:
                levels[index + 1] = self._normed(second[:, 1:]) @ visual.proj
        token = plain[:, 0] if self.head.reads.class_token == "raw" else self._normed(plain[:, 0])
        return levels, token @ visual.proj

    def prompts(self) -> Tensor:
        """Features `[2, E]` of the normal and the abnormal prompt."""
        prompts, book = self.text.prompts, self.text.book
        x = prompts.embed(self.run.model.backbone, book.tokens[0])
        for index, block in enumerate(self.clip.transformer.resblocks):
            x = _block(block, prompts.before_block(index, x, None), causal=True)
        return prompts.project(self.run.model.backbone, self.clip.ln_final(x[torch.arange(2), book.ends[0]]))

    def _map(self, cosines: Tensor, batch: Batch) -> Tensor:
        side, size = round(cosines.shape[1] ** 0.5), batch.images.shape[-1]
        grid = (cosines / self.head.temperature).softmax(dim=-1).transpose(1, 2).unflatten(2, (side, side))
        return functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False)


class NaiveAprilGan(Naive):
    """Steps of APRIL-GAN: the vision tower, and a linear layer a level; text features are made once."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        names = tuple(run.data.sets["train"].classes)
        with torch.no_grad():
            self.features = dict(zip(names, self.text.class_features(names), strict=True))

    def loss(self, batch: Batch) -> Tensor:
        """Objective of a batch."""
        with torch.no_grad():
            outputs = self.image_pass(batch.images)
        text, maps = torch.stack([self.features[name] for name in batch.classes]), {}
        for level in self.run.model.levels:
            patches = _unit(self.head.layers[str(level)](outputs[level - 1][:, 1:]))
            maps[level] = self.probabilities(patches, text, batch)
        return self._objective(self.run.losses["vision"], batch, {"level_probabilities": maps})


def _value_weights(layer: Any) -> tuple[Tensor, Tensor]:
    start = 2 * layer.embed_dim
    return layer.in_proj_weight[start:], layer.in_proj_bias[start:]


METHODS: dict[str, Callable[[Run], Any]] = {"anomaly_clip": NaiveAnomalyClip, "april_gan": NaiveAprilGan}


class Epochs(NamedTuple):
    """Seconds of epochs: the engine's first and later ones, and naive ones; and of open_clip's own forward pass."""

    first: list[float]
    later: list[float]
    naive: list[float]
    forward: list[float]


class Laps(StepCallback):
    """The time of each epoch of one batch."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(self._ended)
        self.clock, self.seconds = clock, list[float]()

    def begin(self, stepper: object) -> None:
        """The first epoch starts now."""
        self._start = self.clock.now()

    def _ended(self, step: Step) -> None:
        now = self.clock.now()
        self.seconds.append(now - self._start)
        self._start = now


@contextmanager
def assembled(name: str, *overrides: str, size: int = SIZE) -> Iterator[Run]:
    """The method's full-size file on drawn noise of two classes, a batch of it, with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["backbone.pretrained=none", f"backbone.image_size={size}", "device=cpu", "workers=0"]
        given += [f"scheduler.batch={BATCH}", "calibration.held_out=0"]
        for seed, role in enumerate(("train", "test")):
            classes = CLASSES[:2] if role == "train" else CLASSES[2:3]
            draw(Path(folder) / role, dict.fromkeys(classes, BATCH // len(classes)), size, seed)
            given += [f"data.{role}.use=folder", f"data.{role}.root={Path(folder) / role}"]
        yield assemble(load(FOLDER / f"vitl_{name}.toml", discover(), [*given, *overrides]))


def phase_of(run: Run, epochs: int) -> Phase:
    """The one phase of the method's plan, for so many epochs; what it keeps of images is its own."""
    ((plan,),) = (loop.phases for loop in plan_ahead(run.scheduler))
    return build_phase(run, replace(plan, epochs=epochs), 1, 0, frozenset(), open_feature_store(run))


def measure(name: str, clock: Clock) -> Epochs:
    """Epochs of the engine and of the naive way by turns."""
    found = Epochs([], [], [], [])
    with assembled(name) as run:
        naive = METHODS[name](run)
        for _ in range(ROUNDS):
            phase, laps = phase_of(run, 1 + LATER), Laps(clock)
            train_phase(phase, laps)
            found.first.append(laps.seconds[0])
            found.later.extend(laps.seconds[1:])
            (batch,) = phase.batches.epoch(1)
            with phase.open():
                found.naive.append(clock.seconds(partial(_naive_step, naive, batch)))
            found.forward.append(clock.seconds(partial(naive.forward, batch.images)))
    return found


def _naive_step(naive: Any, batch: Batch) -> None:
    naive.loss(batch).backward()


def report(name: str, found: Epochs) -> int:
    """Print the figures of a method; returns how many miss what is asked."""
    first, later, naive, forward = (median(seconds) for seconds in found)
    passes = f"{naive / forward:.2f} forward passes of open_clip"
    print(f"{name}: an epoch of {BATCH} images at {SIZE} px, naive {naive:.2f} s, {passes}")
    missed = 0
    for part, seconds in (("first", first), ("later", later)):
        ratio, asked = naive / seconds, ASKED[part]
        missed += ratio < asked
        verdict = "reached" if ratio >= asked else "MISSED"
        print(f"  {part:6} {seconds:8.3f} s   {ratio:7.2f} x naive   asked >= {asked:g}   {verdict}")
    return missed


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=METHODS, help="one method")
    chosen = parser.parse_args().only
    print(describe())
    clock = Clock(torch.device("cpu"))
    missed = sum(report(name, measure(name, clock)) for name in ([chosen] if chosen else METHODS))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
