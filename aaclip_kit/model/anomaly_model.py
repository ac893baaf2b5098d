"""The anomaly model: a frozen backbone, the stages between its blocks, and the trained heads."""

from collections.abc import Iterator, Set
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contracts.backbone import Backbone
from ..contracts.options import TowerName
from ..contracts.stage import Context, ContextKind
from ..experiment.schema import Switches, TextContextForm
from .heads import Heads
from .image_tower import Frozen, ImageFeatures, ImageSide, Levels
from .prompts import PromptBook
from .stage_slots import NO_CONTEXT, Contexts, StageSlots
from .text_tower import TextSide, distinct


class AnomalyModel(nn.Module):
    """Everything that turns images and class names into features. Only `slots` and `heads` train."""

    def __init__(
        self,
        backbone: Backbone,
        slots: StageSlots,
        heads: Heads,
        levels: tuple[int, ...],
        prompts: PromptBook,
        switches: Switches,
        text_context: TextContextForm = "unit",
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.slots, self.heads = slots, heads
        self.levels, self.switches = levels, switches
        self.text = TextSide(backbone, slots, heads, prompts, text_context)
        self.image = ImageSide(backbone, slots, heads, levels, switches.surgery_attention)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.heads.text.linear.weight.device

    def trained_parameters(self, tower: TowerName) -> dict[str, nn.Parameter]:
        """Parameters that a phase of `tower` trains, by the name that they have in checkpoints."""
        parameters: dict[str, nn.Parameter] = {}
        for block, name, stage in self.slots.of(tower):
            parameters.update(stage.named_parameters(prefix=f"sites.stages.{name}.{block}"))
        heads = self.heads.named_parameters(prefix="heads")
        return parameters | {key: value for key, value in heads if key.startswith("heads.text.") == (tower == "text")}

    def all_trained_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of both towers' phases: what a checkpoint holds."""
        return {**self.trained_parameters("text"), **self.trained_parameters("vision")}

    @contextmanager
    def training_tower(self, tower: TowerName) -> Iterator[dict[str, nn.Parameter]]:
        """Gradients for one tower's parameters only, dropout by the switch; everything is put back afterwards."""
        parameters = self.trained_parameters(tower)
        self.requires_grad_(False)
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        for _, _, stage in self.slots.of(tower):
            stage.train(self.switches.dropout)
        try:
            yield parameters
        finally:
            self.requires_grad_(False)
            self.eval()

    def text_contexts(self, classes: tuple[str, ...], attention: bool, prompts: PromptBook | None = None) -> Contexts:
        """Compute the text context of each image's class for the vision stages; none with `attention` off.

        Rows come once a class, as `Context.row_of` names them.
        """
        if not (attention and self._attends("vision", "text")):
            return NO_CONTEXT
        unique = tuple(dict.fromkeys(classes))
        with torch.no_grad(), self._without_dropout("text"):
            rows = self.text.text_context(unique, self.switches.text_context_padding == "attended", prompts)
        if len(unique) == 1:
            return {"text": rows}
        row_of = torch.tensor([unique.index(name) for name in classes], device=rows.tokens.device)
        return {"text": Context(rows.tokens, rows.mask, row_of)}

    def image_contexts(self, images: Float[Tensor, "B 3 S S"], attention: bool) -> Contexts:
        """Each image's own frozen context, for the vision stages that attend to it; none with `attention` off."""
        if not (attention and self._attends("vision", "image")):
            return NO_CONTEXT
        level = self.levels[0]
        return {"image": Context(self.image.frozen(images, (level,)).levels[level])}

    def text_features(
        self,
        classes: tuple[str, ...],
        image_context: Float[Tensor, "contexts N E"] | None,
        prompts: PromptBook | None = None,
    ) -> Float[Tensor, "B E 2"]:
        """Compute the text feature of each image's class, conditioned on `image_context` where there is one."""
        if image_context is None:
            unique, rows = distinct(classes, self.device)
            return self.text.class_features(unique, prompts).index_select(0, rows)
        if self.switches.image_context == "own":
            return self.text.own_context_features(classes, image_context, prompts)
        return self.text.batch_context_features(classes, image_context, prompts)

    @torch.no_grad()
    def text_phase_inputs(
        self,
        images: Float[Tensor, "B C S S"],
        classes: tuple[str, ...],
        trained: bool,
        attending: Set[TowerName],
        frozen: Frozen | None = None,
        prompts: PromptBook | None = None,
    ) -> tuple[Levels, Float[Tensor, "B N E"] | None]:
        """What a text phase sees: patch features by level, and the image context (None where no text stage attends).

        `attending` names the towers whose stages with a context act; `frozen` has what the untouched backbone says of
        the images, which is computed without it. The images may have no channel where nothing else is asked of them.
        """
        attends = "text" in attending and self._attends("text", "image")
        frozen = frozen or Frozen(self.image, images)
        if not trained:
            levels = frozen.levels()
            return levels, levels[self.levels[0]] if attends else None
        embedding = frozen.embedding()
        if self.switches.trained_context == "one_block_more":
            levels = self.image.trained(images, NO_CONTEXT, embedding)
            context = self.image.trained_one_block_more(images, self.levels[0], embedding) if attends else None
            return levels, context
        contexts = self.vision_contexts(images, classes, "vision" in attending, prompts)
        levels = self.image.trained(images, contexts, embedding)
        return levels, levels[self.levels[0]] if attends else None

    def image_features(
        self, images: Float[Tensor, "B 3 S S"], classes: tuple[str, ...], attention: bool
    ) -> ImageFeatures:
        """Patch features of every level and the detection feature, of the trained vision side."""
        return self.image.features(images, self.vision_contexts(images, classes, attention))

    def vision_contexts(
        self,
        images: Float[Tensor, "B 3 S S"],
        classes: tuple[str, ...],
        attention: bool,
        prompts: PromptBook | None = None,
    ) -> Contexts:
        """Compute everything that vision stages attend to; nothing with `attention` off."""
        return {**self.text_contexts(classes, attention, prompts), **self.image_contexts(images, attention)}

    @contextmanager
    def _without_dropout(self, tower: TowerName) -> Iterator[None]:
        """For a while, the tower's stages are in evaluation mode, though they may be training: a context is no step."""
        training = [stage for _, _, stage in self.slots.of(tower) if stage.training]
        for stage in training:
            stage.eval()
        try:
            yield
        finally:
            for stage in training:
                stage.train()

    def _attends(self, tower: TowerName, kind: ContextKind) -> bool:
        return any(stage.context_kind == kind for _, _, stage in self.slots.of(tower))
