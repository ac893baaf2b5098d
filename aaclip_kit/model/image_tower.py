"""The image side: trained patch and detection features, frozen features, image context (method: sections 3 to 5)."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..contracts.backbone import Backbone, Surgery
from .heads import Heads, unit
from .stage_slots import NO_CONTEXT, Contexts, StageSlots

Levels = dict[int, Float[Tensor, "B N E"]]


@dataclass(frozen=True)
class ImageFeatures:
    """Patch features by level, and the detection feature `[B, E]`."""

    levels: Levels
    detection: Float[Tensor, "B E"]


class ImageSide:
    """Walks the vision tower. Holds references only; parameters belong to the model.

    With `recompute`, a training step keeps the input of each block alone and runs the block again for its gradients.
    """

    def __init__(
        self, backbone: Backbone, slots: StageSlots, heads: Heads, levels: tuple[int, ...], surgery: Surgery
    ) -> None:
        self.backbone, self.slots, self.heads, self.levels, self.surgery = backbone, slots, heads, levels, surgery
        self.recompute = False

    def features(self, images: Float[Tensor, "B 3 S S"], contexts: Contexts) -> ImageFeatures:
        """Unit patch features of every level and the detection feature, all stages acting."""
        tokens = self._trained_patches(images, self.levels, contexts)
        patches = {level: self.heads.patches(level, tokens[level]) for level in self.levels}
        return ImageFeatures(patches, self.heads.detect(tokens[max(self.levels)]))

    @torch.no_grad()
    def frozen(self, images: Float[Tensor, "B 3 S S"], levels: tuple[int, ...]) -> ImageFeatures:
        """Frozen features of `levels` after surgery, class embedding added; "detection" is the unit class embedding.

        The plain pass and the surgery pass share the blocks before the surgery.
        """
        backbone, start = self.backbone, self.backbone.surgery_start
        before_surgery, x = self._blocks(backbone.embed_image(images), 0, start, levels)
        operated, _ = self._blocks(x, start, max(levels), levels, surgery=self.surgery)
        _, plain = self._blocks(x, start, backbone.vision.depth)
        embedding = self._class_embedding(plain)
        patches = {
            level: unit(backbone.project_image(self._patches(tokens))) + embedding[:, None]
            for level, tokens in {**before_surgery, **operated}.items()
        }
        return ImageFeatures(patches, embedding)

    @torch.no_grad()
    def trained(self, images: Float[Tensor, "B 3 S S"], contexts: Contexts, embedding: Float[Tensor, "B E"]) -> Levels:
        """What the text phase sees from loop 2 on: trained patch features plus the frozen class embedding."""
        tokens = self._trained_patches(images, self.levels, contexts)
        return {level: self.heads.patches(level, tokens[level]) + embedding[:, None] for level in self.levels}

    @torch.no_grad()
    def trained_one_block_more(
        self, images: Float[Tensor, "B 3 S S"], level: int, embedding: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B N E"]:
        """As published: the context of `level` taken one block later, without the stages that have a context."""
        tokens = self._trained_patches(images, (level + 1,), NO_CONTEXT)
        return self.heads.patches(level, tokens[level + 1]) + embedding[:, None]

    @torch.no_grad()
    def class_embedding(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B E"]:
        """Unit class embedding of the untouched backbone."""
        return self._class_embedding(self._blocks(self.backbone.embed_image(images), 0, self.backbone.vision.depth)[1])

    def _class_embedding(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B E"]:
        return unit(self.backbone.project_image(self.backbone.finish_vision(tokens[:, :1])[:, 0]))

    def _patches(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B N Dv"]:
        return self.backbone.finish_vision(tokens)[:, self.backbone.prefix_tokens :]

    def _trained_patches(
        self, images: Float[Tensor, "B 3 S S"], levels: tuple[int, ...], contexts: Contexts
    ) -> dict[int, Tensor]:
        """Normed patch tokens of each level, all stages acting."""
        levels_tokens, _ = self._blocks(self.backbone.embed_image(images), 0, max(levels), levels, contexts)
        return {level: self._patches(tokens) for level, tokens in levels_tokens.items()}

    def _blocks(
        self,
        x: Float[Tensor, "B V Dv"],
        start: int,
        stop: int,
        levels: tuple[int, ...] = (),
        contexts: Contexts | None = None,
        surgery: Surgery = "none",
    ) -> tuple[dict[int, Tensor], Float[Tensor, "B V Dv"]]:
        """Tokens of each level in blocks `start` to before `stop`, and the last; without `contexts` no stage acts."""
        at_levels = {}
        for block in range(start, stop):
            if self.recompute and x.requires_grad:
                x = checkpoint(self.backbone.vision_block, block, x, surgery, use_reentrant=False)
            else:
                x = self.backbone.vision_block(block, x, surgery)
            if contexts is not None:
                x = self.slots.apply_after("vision", block, x, contexts)
            if block + 1 in levels:
                at_levels[block + 1] = x
        return at_levels, x


FIXED_BATCH: Final = 4
"""Images that go through the untouched backbone at once in training, however many a batch has."""


def frozen_features(image: ImageSide, images: Float[Tensor, "B 3 S S"]) -> ImageFeatures:
    """Return the frozen features of every level, each image's a function of that image alone, to the last bit.

    The last bits of a matrix product depend on how many rows it has, and which images of a batch a store lacks depends
    on what was computed before. V-V attention over the batch mixes its images, which are then taken as they are.
    """
    if image.surgery == "batch":
        return image.frozen(images, image.levels)
    parts = [image.frozen(part, image.levels) for part in _fixed_batches(images)]
    levels = {level: torch.cat([part.levels[level] for part in parts])[: len(images)] for level in image.levels}
    return ImageFeatures(levels, torch.cat([part.detection for part in parts])[: len(images)])


def frozen_embedding(image: ImageSide, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B E"]:
    """Return the unit class embeddings, with the bits that `frozen_features` gives them."""
    if image.surgery == "batch":
        return image.class_embedding(images)
    return torch.cat([image.class_embedding(part) for part in _fixed_batches(images)])[: len(images)]


def _fixed_batches(images: Float[Tensor, "B 3 S S"]) -> list[Float[Tensor, "fixed 3 S S"]]:
    """Cut a batch into parts of one size; the last is filled up with its first image."""
    *whole, last = images.split(FIXED_BATCH)
    return [*whole, torch.cat([last, last[:1].expand(FIXED_BATCH - len(last), -1, -1, -1)])]


@dataclass(frozen=True)
class Frozen:
    """Frozen features of one batch of images, computed when they are asked for."""

    image: ImageSide
    images: Float[Tensor, "B C S S"]

    def levels(self) -> Levels:
        """Patch features of every level, class embedding added."""
        return frozen_features(self.image, self.images).levels

    def embedding(self) -> Float[Tensor, "B E"]:
        """Unit class embedding."""
        return frozen_embedding(self.image, self.images)
