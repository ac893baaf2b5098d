"""The anomaly model: a frozen backbone, the stages between its blocks, the prompts and the head."""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contracts.backbone import Backbone
from ..contracts.head import Head, ImageFeatures, Reads
from ..contracts.options import TOWERS, TowerName
from ..contracts.prompts import Prompts
from ..contracts.reference import Reference
from ..contracts.schedule import Trains, towers_of
from ..contracts.stage import AttentionStage, Context, ContextKind
from ..experiment.schema import Switches, TextContextForm
from .image_tower import ImageSide, Untouched
from .prompts import PromptBook
from .stage_slots import NO_CONTEXT, Contexts, StageSlots
from .text_tower import TextSide, distinct


class AnomalyModel(nn.Module):
    """Everything that turns images and class names into features. Only `slots`, `prompts` and `head` train.

    `prompts` and `text` are None where the head needs no text, `reference` where nothing is remembered.
    """

    def __init__(
        self,
        backbone: Backbone,
        slots: StageSlots,
        head: Head,
        levels: tuple[int, ...],
        switches: Switches,
        *,
        prompts: Prompts | None,
        book: PromptBook | None,
        reference: Reference | None = None,
        text_context: TextContextForm = "unit",
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.slots, self.prompts, self.head, self.reference = slots, prompts, head, reference
        self.levels, self.switches = levels, switches
        self.text: TextSide | None = None
        if prompts is not None and book is not None:
            self.text = TextSide(backbone, slots, prompts, book, text_context)
        self.image = ImageSide(backbone, slots, levels, switches.surgery_attention)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    @property
    def shown(self) -> tuple[float, float]:
        """Map values of the darkest and the brightest colour of a picture."""
        return (None if self.reference is None else self.reference.shown) or self.head.shown

    @property
    def untrained_reads(self) -> Reads:
        """What is read of the untouched backbone before training."""
        return self.head.untrained_reads or self.head.reads

    def trained_parameters(self, trains: Trains) -> dict[str, nn.Parameter]:
        """Parameters that a phase of a tower, or of both, trains, by the name that they have in checkpoints."""
        parameters: dict[str, nn.Parameter] = {}
        for tower in towers_of(trains):
            for block, name, stage in self.slots.of(tower):
                where = name if stage.one_for_all_sites else f"{name}.{block}"
                parameters.update(stage.named_parameters(prefix=f"sites.stages.{where}"))
            module, prefix = (self.prompts, "prompts") if tower == "text" else (self.head, "head")
            parameters.update(() if module is None else module.named_parameters(prefix=prefix))
        return parameters

    def all_trained_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of both towers' phases: what a checkpoint holds."""
        return self.trained_parameters("both")

    def published_names(self) -> dict[str, str]:
        """The key in published checkpoints of each trained tensor that has one, by its name here."""
        named = self._named_components().items()
        return {f"{where}.{own}": key for where, one in named for own, key in one.published_names().items()}

    @property
    def published_unused(self) -> tuple[str, ...]:
        """Patterns of keys in published checkpoints that no parameter stands for."""
        return tuple(pattern for one in self._named_components().values() for pattern in one.published_unused)

    def _named_components(self) -> dict[str, Prompts | Head | AttentionStage]:
        """Prompts, head and stages by what their parameters' names begin with."""
        modules: dict[str, Prompts | Head | AttentionStage] = {"head": self.head}
        if self.prompts is not None:
            modules["prompts"] = self.prompts
        for tower in TOWERS:
            for block, name, stage in self.slots.of(tower):
                where = name if stage.one_for_all_sites else f"{name}.{block}"
                modules[f"sites.stages.{where}"] = stage
        return modules

    @contextmanager
    def training_tower(self, trains: Trains) -> Iterator[dict[str, nn.Parameter]]:
        """Gradients for these parameters only, dropout by the switch; everything is put back afterwards."""
        parameters = self.trained_parameters(trains)
        self.requires_grad_(False)
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        for tower in towers_of(trains):
            for module in self._modules_of(tower):
                module.train(self.switches.dropout)
        try:
            yield parameters
        finally:
            self.requires_grad_(False)
            self.eval()

    def _modules_of(self, tower: TowerName) -> list[nn.Module]:
        own = self.prompts if tower == "text" else self.head
        return [*(stage for _, _, stage in self.slots.of(tower)), *([] if own is None else [own])]

    def text_contexts(self, classes: tuple[str, ...], attention: bool, book: PromptBook | None = None) -> Contexts:
        """Compute the text context of each image's class for the vision stages; none with `attention` off.

        Rows come once a class, as `Context.row_of` names them.
        """
        if self.text is None or not (attention and self._attends("vision", "text")):
            return NO_CONTEXT
        unique = tuple(dict.fromkeys(classes))
        with torch.no_grad(), self._without_dropout("text"):
            rows = self.text.text_context(unique, self.switches.text_context_padding == "attended", book)
        if len(unique) == 1:
            return {"text": rows}
        row_of = torch.tensor([unique.index(name) for name in classes], device=rows.tokens.device)
        return {"text": Context(rows.tokens, rows.mask, row_of)}

    def image_contexts(
        self, images: Float[Tensor, "B C S S"], attention: bool, untouched: Untouched | None = None
    ) -> Contexts:
        """Each image's own context by the untouched backbone, for vision stages that attend to it; none without
        `attention`.
        """
        contexts: dict[ContextKind, Context] = {}
        untouched = untouched or Untouched(self.image, images)
        if attention and self._attends("vision", "image"):
            level = self.levels[0]
            tokens = self.image.untouched(images, self.untrained_reads, (level,))
            contexts["image"] = Context(self.head.untrained_features(tokens).levels[level])
        if attention and self._attends("vision", "class"):
            contexts["class"] = Context(untouched.embedding()[:, None])
        return contexts

    def text_features(
        self,
        classes: tuple[str, ...],
        image_context: Float[Tensor, "contexts N E"] | None,
        book: PromptBook | None = None,
        embedding: Float[Tensor, "B E"] | None = None,
    ) -> Float[Tensor, "B E 2"]:
        """Compute the text feature of each image's class, conditioned on `image_context` where there is one.

        `embedding` has each image's class embedding by the untouched backbone, for prompts that go by it.
        """
        text = self.text
        assert text is not None
        if embedding is not None or (image_context is not None and self.switches.image_context == "own"):
            return text.own_features(classes, image_context, book, embedding)
        if image_context is None:
            unique, rows = distinct((book or text.book).alike(classes), self.device)
            return text.class_features(unique, book).index_select(0, rows)
        return text.batch_context_features(classes, image_context, book)

    @torch.no_grad()
    def text_phase_inputs(
        self,
        images: Float[Tensor, "B C S S"],
        classes: tuple[str, ...],
        trained: bool,
        attending: Set[TowerName],
        untouched: Untouched | None = None,
        book: PromptBook | None = None,
    ) -> tuple[ImageFeatures, Float[Tensor, "B N E"] | None]:
        """What a text phase sees: features of images, and the image context (None where no text stage attends).

        `attending` names the towers whose stages with a context act; `untouched` has what the untouched backbone says
        of the images. The images may have no channel where nothing else is asked of them.
        """
        attends = self.conditions_text(attending)
        untouched, first = untouched or Untouched(self.image, images), self.levels[0]
        if not trained:
            features = self.head.untrained_features(untouched.tokens(self.untrained_reads))
            return features, features.levels[first] if attends else None
        more = self.switches.trained_context == "one_block_more"
        contexts = NO_CONTEXT if more else self.vision_contexts(images, classes, "vision" in attending, book)
        features = self._for_text(images, contexts, untouched)
        if more and attends:
            return features, self._one_block_more(images, untouched)
        return features, features.levels[first] if attends else None

    def _for_text(self, images: Tensor, contexts: Contexts, untouched: Untouched) -> ImageFeatures:
        return self.head.for_text(self._trained(images, contexts, untouched), untouched.embedding)

    def _trained(self, images: Tensor, contexts: Contexts, untouched: Untouched) -> ImageFeatures:
        if self.vision_is_fixed:
            return self.head.features(untouched.tokens(self.head.reads))
        return self.head.features(self.image.read(images, self.head.reads, self.levels, contexts))

    def _one_block_more(self, images: Tensor, untouched: Untouched) -> Float[Tensor, "B N E"]:
        """As published: the context of the first level, one block later, without the stages that have a context."""
        first = self.levels[0]
        tokens = self.image.read(images, self.head.reads, (first + 1,), NO_CONTEXT)
        renamed = replace(tokens, levels={first: tokens.levels[first + 1]})
        return self.head.for_text(self.head.features(renamed), untouched.embedding).levels[first]

    @property
    def vision_is_fixed(self) -> bool:
        """Whether no stage acts in the vision tower, so that training changes nothing of what is read of it."""
        return not any(True for _ in self.slots.of("vision"))

    @property
    def goes_by_embedding(self) -> bool:
        """Whether prompts or vision stages go by each image's class embedding of the untouched backbone."""
        return (self.text is not None and self.text.goes_by_image) or self._attends("vision", "class")

    def image_features(
        self,
        images: Float[Tensor, "B C S S"],
        classes: tuple[str, ...],
        attention: bool,
        book: PromptBook | None = None,
        untouched: Untouched | None = None,
    ) -> ImageFeatures:
        """Features of images by the trained vision side."""
        untouched = untouched or Untouched(self.image, images)
        return self._trained(images, self.vision_contexts(images, classes, attention, book, untouched), untouched)

    def vision_contexts(
        self,
        images: Float[Tensor, "B C S S"],
        classes: tuple[str, ...],
        attention: bool,
        book: PromptBook | None = None,
        untouched: Untouched | None = None,
    ) -> Contexts:
        """Compute everything that vision stages attend to; nothing with `attention` off."""
        return {**self.text_contexts(classes, attention, book), **self.image_contexts(images, attention, untouched)}

    @contextmanager
    def _without_dropout(self, tower: TowerName) -> Iterator[None]:
        """For a while, the tower's stages are in evaluation mode, though they may be training: a context is no step."""
        training = [module for module in self._modules_of(tower) if module.training]
        for module in training:
            module.eval()
        try:
            yield
        finally:
            for module in training:
                module.train()

    def conditions_text(self, attending: Set[TowerName]) -> bool:
        """Whether a text stage that attends to the image acts."""
        return "text" in attending and self._attends("text", "image")

    def _attends(self, tower: TowerName, kind: ContextKind) -> bool:
        return any(stage.context_kind == kind for _, _, stage in self.slots.of(tower))
