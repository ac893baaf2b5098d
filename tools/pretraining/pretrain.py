"""Pretrain the embedded model: `python -m tools.pretraining --photographs DIR --stem FILE [--resume]`, in a clone.

Drawn and blended surfaces with captions: CLIP's contrastive loss with several fitting captions, and at every level the
patches' similarity to "normal" and to "damaged" against the masks. The stem is frozen: its features of a picture are
computed once. The same recipe on the same machine gives the same weights, with or without interruptions.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from aaclip_kit_plugins.embedded import WEIGHTS
from aaclip_kit_plugins.embedded.backbone import untrained
from aaclip_kit_plugins.embedded.stem import CHANNELS
from torch import Tensor

from . import storage
from .averaging import EVERY, Average
from .captions import Writer, agreement
from .losses import Readout, contrastive
from .pictures import Kept, Pool, generator, read_photographs
from .probe import measure
from .recipe import Recipe, rate_at
from .stem import stem_weights
from .towers import text_features, tokens_by_level
from .workers import Gradients, run_workers

WEIGHT = {"caption": 0.3, "patches": 2.0, "peak": 0.5, "token": 0.1, "stem": 1.0}
SAVE_EVERY = 240.0  # seconds


class Pretraining:
    """Model, read-out, optimiser and average at one step of a recipe."""

    def __init__(self, recipe: Recipe, stem: dict[str, Tensor]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step = recipe, 0
        self.model = untrained()
        self.stem = self.model.visual.conv1.stem
        self.stem.load_state_dict(stem)
        self.stem.requires_grad_(False)
        self.readout = Readout(int(self.model.visual.transformer.width), CHANNELS, recipe.levels)
        self.average = Average(self.model, recipe.averaging)
        named = [*self.model.named_parameters(), *self.readout.named_parameters()]
        parameters: list[tuple[str, Tensor]] = [(name, p) for name, p in named if p.requires_grad]
        decayed = [p for name, p in parameters if p.ndim >= 2 and "embedding" not in name]
        plain = [p for name, p in parameters if p.ndim < 2 or "embedding" in name]
        self.gradients = Gradients(p for _, p in parameters)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
        )
        self.tokenize, self.writer = open_clip.get_tokenizer("ViT-B-32"), Writer()

    def losses(self, batch: Sequence[Kept], worker: int) -> dict[str, Tensor]:
        """Loss terms by name for one batch."""
        self.readout.settled = self.step >= self.recipe.steps
        rng = generator(self.recipe.seed, 3, worker, self.step)
        torch.manual_seed(int(rng.integers(2**31)))
        visual = self.model.visual
        features = torch.stack([kept.features for kept in batch]).float()
        seen = torch.nn.functional.dropout(features, self.recipe.dropout)
        tokens = tokens_by_level(visual, seen, self.recipe.levels)
        captions = [self.writer.caption(rng, kept.words) for kept in batch]
        pairs = [self.writer.pair(rng, kept.words) for kept in batch]
        said = [c.text for c in captions] + [text for side in zip(*pairs, strict=True) for text in side]
        text, normal, damaged = text_features(self.model, self.tokenize(said)).chunk(3)
        image = torch.nn.functional.normalize(tokens[max(tokens)][:, 0] @ visual.proj, dim=-1)
        logits = self.model.logit_scale.exp().clamp(max=100.0) * image @ text.T
        fits = torch.from_numpy(agreement(captions, [kept.words for kept in batch]))
        covered = torch.stack([kept.covered for kept in batch])
        return {"caption": contrastive(logits, fits)} | self.readout.losses(
            features.flatten(2).transpose(1, 2), tokens, visual.proj, damaged - normal, covered
        )

    def advance(self, batch: Sequence[Kept], worker: int, stop: bool = False) -> tuple[dict[str, float], bool]:
        """One optimisation step; returns this worker's loss terms and whether any worker wants to stop."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.recipe, self.step)
        terms = self.losses(batch, worker)
        total = torch.stack([WEIGHT[name] * term for name, term in terms.items()]).sum()
        self.gradients.clear()
        torch.autograd.backward(total)
        stopping = self.gradients.exchange(stop)
        self.gradients.clip(1.0)
        self.optimizer.step()
        self.step += 1
        if self.step % EVERY == 0:
            self.average.update(self.model)
        return {name: float(term.detach()) for name, term in terms.items()}, stopping

    def averaged(self) -> Any:
        """A copy of the model that carries the averaged weights."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.average.weights, strict=False)
        return model.eval()


class Journal:
    """Saves, exports, logs and measures every four minutes; only the first worker keeps one."""

    def __init__(self, run: Pretraining, folder: Path, weights: Path) -> None:
        self._run, self._folder, self._weights = run, folder, weights
        self._started = self._saved = time.monotonic()
        self._first, self._saves = run.step, 0
        self._sums: dict[str, float] = {}

    def minutes(self) -> float:
        """Time since the start."""
        return (time.monotonic() - self._started) / 60

    def note(self, terms: dict[str, float]) -> None:
        """Take a step's losses; write when it is time."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if time.monotonic() - self._saved > SAVE_EVERY:
            steps, seconds = self._run.step - self._first, time.monotonic() - self._saved
            means = {name: value / steps for name, value in self._sums.items()}
            rate = rate_at(self._run.recipe, self._run.step)
            self._write(step=self._run.step, steps_per_second=steps / seconds, rate=rate, **means)
            self._saves += 1
            self.save(probe=self._saves % 2 == 1)
            self._saved, self._first, self._sums = time.monotonic(), self._run.step, {}

    def save(self, probe: bool) -> None:
        """Write checkpoint and export and, if asked, the figures on the validation surfaces."""
        run = self._run
        storage.save(self._folder / "checkpoint.pt", run.step, run.model, run.readout, run.optimizer, run.average)
        storage.export(run.averaged(), self._weights)
        if probe:
            self._write(step=run.step, minutes=self.minutes(), **measure(run.averaged(), run.recipe.levels))

    def _write(self, **line: Any) -> None:
        text = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
        print(text, flush=True)
        with (self._folder / "log.jsonl").open("a") as log:
            log.write(text + "\n")


def train(
    rank: int, recipe: Recipe, photographs: Path, stem: Path, folder: Path, weights: Path, minutes: float | None,
    resume: bool,
) -> None:  # fmt: skip
    """Run one worker to the recipe's last step, or stop in time."""
    run = Pretraining(recipe, stem_weights(stem))
    if resume:
        run.step = storage.load(folder / "checkpoint.pt", run.model, run.readout, run.optimizer, run.average)
    pool = Pool(recipe, run.stem, read_photographs(photographs), run.step, rank)
    journal = Journal(run, folder, weights) if rank == 0 else None
    stopping = False
    while run.step < recipe.steps + recipe.settling and not stopping:
        late = bool(journal and minutes and journal.minutes() > minutes)
        terms, stopping = run.advance(pool.batch(), rank, late)
        if journal:
            journal.note(terms)
    if journal:
        journal.save(probe=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder that holds SOURCES.csv")
    parser.add_argument("--stem", type=Path, required=True, help="EfficientNet-Lite0's weights (.pth)")
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"), help="folder for checkpoint and log")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="file to export to")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="steps of the recipe")
    parser.add_argument("--minutes", type=float, help="stop after this time; --resume goes on later")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    recipe = dataclasses.replace(Recipe(), steps=given.steps)
    run_workers(
        recipe.workers, given.out, train, recipe, given.photographs, given.stem, given.out, given.weights,
        given.minutes, given.resume,
    )  # fmt: skip
