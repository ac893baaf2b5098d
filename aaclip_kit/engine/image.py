"""The image side: trained patch and detection features, frozen features, image context (method: sections 3 to 5)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts.backbone import Backbone, Surgery
from ..contracts.stage import Context
from .heads import Heads, unit
from .sites import NO_CONTEXT, Contexts, Sites

Levels = dict[int, Float[Tensor, "B N E"]]


@dataclass(frozen=True)
class ImageFeatures:
    """Patch features by level, and the detection feature `[B, E]`."""

    levels: Levels
    detection: Float[Tensor, "B E"]


class ImageSide:
    """Walks the vision tower. Holds references only; parameters belong to the detector."""

    def __init__(
        self, backbone: Backbone, sites: Sites, heads: Heads, levels: tuple[int, ...], surgery: Surgery
    ) -> None:
        self.backbone, self.sites, self.heads, self.levels, self.surgery = backbone, sites, heads, levels, surgery

    def features(self, images: Float[Tensor, "B 3 S S"], contexts: Contexts) -> ImageFeatures:
        """Unit patch features of every level and the detection feature, all stages acting."""
        tokens = self._walk_trained(images, self.levels, self._with_image_context(images, contexts))
        patches = {level: self.heads.patches(level, tokens[level]) for level in self.levels}
        return ImageFeatures(patches, self.heads.detect(tokens[max(self.levels)]))

    @torch.no_grad()
    def frozen(self, images: Float[Tensor, "B 3 S S"], levels: tuple[int, ...]) -> ImageFeatures:
        """Frozen features of `levels` after surgery, class embedding added; "detection" is the unit class embedding.

        The plain pass and the surgery pass share the blocks before the surgery.
        """
        start = self.backbone.surgery_start
        shared, x = {}, self.backbone.embed_image(images)
        for block in range(start):
            x = self.backbone.vision_block(block, x)
            shared[block + 1] = x
        plain = operated = x
        for block in range(start, self.backbone.vision.depth):
            plain = self.backbone.vision_block(block, plain)
            if block < max(levels):
                operated = self.backbone.vision_block(block, operated, self.surgery)
                shared[block + 1] = operated
        embedding = self._class_embedding(plain)
        project = self.backbone.project_image
        patches = {level: unit(project(self._patches(shared[level]))) + embedding[:, None] for level in levels}
        return ImageFeatures(patches, embedding)

    @torch.no_grad()
    def trained(self, images: Float[Tensor, "B 3 S S"], levels: tuple[int, ...], contexts: Contexts) -> Levels:
        """What the text phase sees from loop 2 on: trained patch features plus the frozen class embedding."""
        tokens = self._walk_trained(images, levels, self._with_image_context(images, contexts))
        embedding = self.class_embedding(images)[:, None]
        return {level: self.heads.patches(level, tokens[level]) + embedding for level in levels}

    @torch.no_grad()
    def trained_one_block_more(self, images: Float[Tensor, "B 3 S S"], level: int) -> Float[Tensor, "B N E"]:
        """As published: the context of `level` taken one block later, without the stages that have a context."""
        tokens = self._walk_trained(images, (level + 1,), NO_CONTEXT)
        return self.heads.patches(level, tokens[level + 1]) + self.class_embedding(images)[:, None]

    @torch.no_grad()
    def class_embedding(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B E"]:
        """Unit class embedding of the untouched backbone."""
        x = self.backbone.embed_image(images)
        for block in range(self.backbone.vision.depth):
            x = self.backbone.vision_block(block, x)
        return self._class_embedding(x)

    def _class_embedding(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B E"]:
        return unit(self.backbone.project_image(self.backbone.finish_vision(tokens[:, :1])[:, 0]))

    def _patches(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B N Dv"]:
        return self.backbone.finish_vision(tokens)[:, 1:]

    def _walk_trained(
        self, images: Float[Tensor, "B 3 S S"], levels: tuple[int, ...], contexts: Contexts
    ) -> dict[int, Tensor]:
        """Normed patch tokens of each level."""
        found, x = {}, self.backbone.embed_image(images)
        for block in range(max(levels)):
            x = self.sites.apply_after("vision", block, self.backbone.vision_block(block, x), contexts)
            if block + 1 in levels:
                found[block + 1] = self._patches(x)
        return found

    def _with_image_context(self, images: Float[Tensor, "B 3 S S"], contexts: Contexts) -> Contexts:
        """A vision stage may attend to the image context too; it is made only where one does."""
        wanted = any(stage.context_kind == "image" for _, _, stage in self.sites.of("vision"))
        if not (wanted and contexts):
            return contexts
        level = self.levels[0]
        return {**contexts, "image": Context(self.frozen(images, (level,)).levels[level])}
