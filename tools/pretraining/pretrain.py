"""Pretrain the embedded model: `python -m tools.pretraining [--out DIR] [--resume]`, in a clone.

Drawn surfaces with captions, CLIP's contrastive loss with several fitting captions, and throw-away heads for the
caption's surface and defect words. The same recipe on the same machine gives the same weights, with or without
interruptions.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from aaclip_kit_plugins.embedded import WEIGHTS
from aaclip_kit_plugins.synthetic import PRETRAIN_SURFACES
from torch import Tensor

from . import storage
from .averaging import EVERY, Average
from .captions import KINDS
from .crops import SIZE, Batch, Pool, generator
from .heads import Heads, contrastive
from .probe import measure
from .recipe import Recipe, rate_at
from .towers import build, pixels, text_features, tokens_by_level
from .workers import Gradients, run_workers

WEIGHT = {"caption": 1.0, "surface": 0.3, "kind": 0.5, "mean_kind": 0.5}
PATCH_WEIGHT = 0.5  # of each level's patch loss
SAVE_EVERY = 180.0  # seconds


class Pretraining:
    """Model, heads, optimiser and average at one step of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step = recipe, 0
        self.model = build()
        self.heads = Heads(self.model.visual.conv1.out_channels, recipe.levels, len(PRETRAIN_SURFACES), len(KINDS))
        self.average = Average(self.model, recipe.averaging)
        parameters: list[tuple[str, Tensor]] = [*self.model.named_parameters(), *self.heads.named_parameters()]
        decayed = [p for name, p in parameters if p.ndim >= 2 and "embedding" not in name]
        plain = [p for name, p in parameters if p.ndim < 2 or "embedding" in name]
        self.gradients = Gradients(p for _, p in parameters)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
        )
        self.tokenize = open_clip.get_tokenizer("ViT-B-32")

    def crop_size(self) -> int:
        """Side of this step's crops."""
        whole = self.step >= self.recipe.whole_from * self.recipe.steps
        drawn = generator(self.recipe.seed, 3, self.step).random()
        return SIZE if whole and drawn >= self.recipe.crop_share else self.recipe.crop

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name for one batch."""
        tokens = tokens_by_level(
            self.model.visual, pixels(batch.images), torch.from_numpy(batch.corner), self.recipe.levels
        )
        image = tokens[max(tokens)][:, 0] @ self.model.visual.proj
        text = text_features(self.model, self.tokenize([c.text for c in batch.captions]))
        scale = self.model.logit_scale.exp().clamp(max=100.0)
        logits = scale * torch.nn.functional.normalize(image, dim=-1) @ text.T
        words = (torch.from_numpy(a) for a in (batch.surface, batch.kind, batch.quarters))
        return {"caption": contrastive(logits, torch.from_numpy(batch.agreement))} | self.heads.losses(tokens, *words)

    def advance(self, batch: Batch, stop: bool = False) -> tuple[dict[str, float], bool]:
        """One optimisation step; returns this worker's loss terms and whether any worker wants to stop."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.recipe, self.step)
        terms = self.losses(batch)
        total = torch.stack([WEIGHT.get(name, PATCH_WEIGHT) * term for name, term in terms.items()]).sum()
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
        model.load_state_dict(self.average.weights, strict=True)
        return model.eval()


class Journal:
    """Saves, exports, logs and measures every three minutes; only the first worker keeps one."""

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
        storage.save(self._folder / "checkpoint.pt", run.step, run.model, run.heads, run.optimizer, run.average)
        storage.export(run.average, self._weights)
        if probe:
            self._write(step=run.step, minutes=self.minutes(), **measure(run.averaged(), run.heads, run.recipe.levels))

    def _write(self, **line: Any) -> None:
        text = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
        print(text, flush=True)
        with (self._folder / "log.jsonl").open("a") as log:
            log.write(text + "\n")


def train(rank: int, recipe: Recipe, folder: Path, weights: Path, minutes: float | None, resume: bool) -> None:
    """Run one worker to the recipe's last step, or stop in time."""
    run = Pretraining(recipe)
    if resume:
        run.step = storage.load(folder / "checkpoint.pt", run.model, run.heads, run.optimizer, run.average)
    pool = Pool(recipe, run.step, rank)
    journal = Journal(run, folder, weights) if rank == 0 else None
    stopping = False
    while run.step < recipe.steps and not stopping:
        size = run.crop_size()
        batch = pool.batch(size, recipe.whole_batch if size == SIZE else recipe.crop_batch)
        late = bool(journal and minutes and journal.minutes() > minutes)
        terms, stopping = run.advance(batch, late)
        if journal:
            journal.note(terms)
    if journal:
        journal.save(probe=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"), help="folder for checkpoint and log")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="file to export to")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="steps of the recipe")
    parser.add_argument("--minutes", type=float, help="stop after this time; --resume goes on later")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    recipe = dataclasses.replace(Recipe(), steps=given.steps)
    run_workers(recipe.workers, given.out, train, recipe, given.out, given.weights, given.minutes, given.resume)
