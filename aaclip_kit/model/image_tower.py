"""The image side: the vision tower walked as a head reads it, with stages or untouched (method: sections 3 to 5)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..contracts.backbone import Backbone, Surgery
from ..contracts.head import ImageTokens, Reads
from ..kernels.exporting import is_exporting
from .stage_slots import Contexts, StageSlots
from .windows import window_embeddings

Levels = dict[int, Float[Tensor, "B N D"]]
Reader = tuple[Reads, tuple[int, ...]]
"""What somebody reads of the tower, and at which levels."""


class ImageSide:
    """Walks the vision tower. Holds references only; parameters belong to the model.

    `surgery` is over what V-V attention runs. With `recompute`, a training step keeps the input of each block alone and
    runs the block again for its gradients.
    """

    def __init__(self, backbone: Backbone, slots: StageSlots, levels: tuple[int, ...], surgery: Surgery) -> None:
        self.backbone, self.slots, self.levels, self.surgery = backbone, slots, levels, surgery
        self.recompute = False

    def read(
        self,
        images: Float[Tensor, "B 3 S S"],
        reads: Reads,
        levels: tuple[int, ...],
        contexts: Contexts | None = None,
    ) -> ImageTokens:
        """Read the tower at these levels, with the stages that `contexts` switch on, or untouched without them."""
        embedded = self.backbone.embed_image(images)
        tokens = embedded if contexts is None else self.slots.apply_after("vision", -1, embedded, contexts)
        walk = _Walk(self, levels, contexts, embedded.shape[1])
        at_levels, last = walk.read(tokens, reads)
        windows = {side: window_embeddings(self.backbone, embedded, side) for side in reads.windows}
        return ImageTokens(at_levels, last, windows or None)

    @torch.no_grad()
    def untouched(self, images: Float[Tensor, "B 3 S S"], reads: Reads, levels: tuple[int, ...]) -> ImageTokens:
        """Read the untouched backbone; no gradient flows."""
        return self.read(images, reads, levels)

    @torch.no_grad()
    def untouched_by(self, images: Float[Tensor, "B 3 S S"], readers: Sequence[Reader]) -> list[ImageTokens]:
        """Read the untouched backbone for each reader, in one walk where all of them read the same stream."""
        together = _together([reads for reads, _ in readers])
        if together is None:
            return [self.untouched(images, reads, levels) for reads, levels in readers]
        every = self.untouched(images, together, tuple(sorted({level for _, levels in readers for level in levels})))
        return [self._own(every, reads, levels) for reads, levels in readers]

    def _own(self, every: ImageTokens, reads: Reads, levels: tuple[int, ...]) -> ImageTokens:
        """One reader's part of tokens that are as they left the blocks."""
        at_levels = {level: self._as_read(every.levels[level], reads) for level in levels}
        windows = {side: one for side, one in (every.windows or {}).items() if side in reads.windows}
        return ImageTokens(at_levels, None if reads.class_token == "none" else every.class_embedding, windows or None)

    def patches(self, tokens: Float[Tensor, "B V Dv"], reads: Reads) -> Float[Tensor, "B N D"]:
        """Return the patch tokens of a level as a head reads them."""
        return self._as_read(tokens, reads)[:, self.backbone.prefix_tokens :]

    def _as_read(self, tokens: Float[Tensor, "B n Dv"], reads: Reads) -> Float[Tensor, "B n D"]:
        tokens = self.backbone.finish_vision(tokens) if reads.normed else tokens
        return self.backbone.project_image(tokens) if reads.projected else tokens

    def class_embedding(self, tokens: Float[Tensor, "B V Dv"], reads: Reads) -> Float[Tensor, "B E"]:
        """Return the class embedding from the tokens after the last block."""
        token = tokens[:, :1]
        normed = token if reads.class_token == "raw" else self.backbone.finish_vision(token)
        return self.backbone.project_image(normed[:, 0])


def _together(wanted: Sequence[Reads]) -> Reads | None:
    """What one walk would read for several readers; None for a single one, or where their streams or tokens differ."""
    streams = {(reads.surgery, reads.surgery_start) for reads in wanted}
    tokens = {reads.class_token for reads in wanted} - {"none"}
    if len(wanted) < 2 or len(streams) > 1 or len(tokens) > 1:
        return None
    windows = tuple(sorted({side for reads in wanted for side in reads.windows}))
    token = next(iter(tokens), wanted[0].class_token)
    return replace(wanted[0], normed=False, projected=False, class_token=token, windows=windows)


@dataclass(frozen=True)
class _Walk:
    """One pass through the blocks. `kept` tokens are the backbone's own: what stages insert stands behind them."""

    side: ImageSide
    levels: tuple[int, ...]
    contexts: Contexts | None
    kept: int

    def read(self, tokens: Float[Tensor, "B V Dv"], reads: Reads) -> tuple[Levels, Float[Tensor, "B E"] | None]:
        """Patch tokens of each level, and the class embedding where it is wanted."""
        backbone, wants_class = self.side.backbone, reads.class_token != "none"
        start = backbone.surgery_start if reads.surgery_start is None else reads.surgery_start
        start = backbone.vision.depth if reads.surgery == "none" else start
        last = max(self.levels, default=0)
        end = backbone.vision.depth if wants_class else last
        # The plain pass and the surgery pass share the blocks before the surgery.
        raw, tokens = self._blocks(tokens, 0, min(start, end))
        if start < end and reads.surgery == "beside":
            operated, tokens = self._beside(tokens, start, end)
            raw |= operated
        elif start < end:
            raw |= self._blocks(tokens, start, last, self.side.surgery)[0]
            tokens = self._blocks(tokens, start, end)[1] if wants_class else tokens
        at_levels = {level: self.side.patches(raw[level][:, : self.kept], reads) for level in self.levels}
        return at_levels, self.side.class_embedding(tokens, reads) if wants_class else None

    def _beside(self, tokens: Tensor, start: int, stop: int) -> tuple[dict[int, Tensor], Tensor]:
        """The second stream at each level, and the plain one after block `stop - 1`."""
        at_levels, plain, second, last = {}, tokens, tokens, max(self.levels, default=0)
        for block in range(start, stop):
            if block < last:
                second = second + self.side.backbone.value_attention(block, plain)
            plain = self._block(block, plain, "none")
            if block + 1 in self.levels:
                at_levels[block + 1] = second
        return at_levels, plain

    def _blocks(
        self, tokens: Tensor, start: int, stop: int, surgery: Surgery = "none"
    ) -> tuple[dict[int, Tensor], Tensor]:
        """Tokens of each level in blocks `start` to before `stop`, and the last."""
        at_levels = {}
        for block in range(start, stop):
            tokens = self._block(block, tokens, surgery)
            if block + 1 in self.levels:
                at_levels[block + 1] = tokens
        return at_levels, tokens

    def _block(self, block: int, tokens: Tensor, surgery: Surgery) -> Tensor:
        run = self.side.backbone.vision_block
        if self.side.recompute and tokens.requires_grad:
            tokens = checkpoint(run, block, tokens, surgery, use_reentrant=False)
        else:
            tokens = run(block, tokens, surgery)
        return tokens if self.contexts is None else self.side.slots.apply_after("vision", block, tokens, self.contexts)


FIXED_BATCH: Final = 4
"""Images that go through the untouched backbone at once, fewer only where a phase's batches have fewer."""

Parts = dict[str, Float[Tensor, "B *rest"]]
"""What was read of images, part by part: "levels" in one tensor, "class", and "window2" and the like."""


def parts_of(tokens: ImageTokens) -> Parts:
    """Take tokens apart, so that each part of an image can be kept by itself."""
    parts = {"levels": torch.stack([*tokens.levels.values()], dim=1)} if tokens.levels else {}
    if tokens.class_embedding is not None:
        parts["class"] = tokens.class_embedding
    return parts | {f"window{side}": one for side, one in (tokens.windows or {}).items()}


def tokens_of(parts: Parts, levels: tuple[int, ...]) -> ImageTokens:
    """Put tokens together again."""
    at_levels = dict(zip(levels, parts["levels"].unbind(dim=1), strict=True)) if "levels" in parts else {}
    windows = {int(name.removeprefix("window")): one for name, one in parts.items() if name.startswith("window")}
    return ImageTokens(at_levels, parts.get("class"), windows or None)


def untouched_parts(
    side: ImageSide, images: Float[Tensor, "B 3 S S"], reads: Reads, levels: bool = True, *, fixed: int = FIXED_BATCH
) -> Parts:
    """Read the untouched backbone, its levels or none, each image's part a function of it alone, to the last bit.

    The last bits of a matrix product depend on how many rows it has, and which images of a batch a store lacks depends
    on what was computed before; so always `fixed` images go through the backbone at once. V-V attention over the batch
    mixes its images, which are then taken as they are.
    """
    at = side.levels if levels else ()
    if side.surgery == "batch" and reads.surgery == "values":
        return parts_of(side.untouched(images, reads, at))
    read = [parts_of(side.untouched(part, reads, at)) for part in _fixed_batches(images, fixed)]
    return {name: torch.cat([one[name] for one in read])[: len(images)] for name in read[0]}


def _fixed_batches(images: Float[Tensor, "B 3 S S"], fixed: int) -> list[Float[Tensor, "fixed 3 S S"]]:
    """Cut a batch into parts of one size; the last is filled up with its first image. For export it stays as it is."""
    if is_exporting():
        return [images]
    *whole, last = images.split(fixed)
    return [*whole, torch.cat([last, last[:1].expand(fixed - len(last), -1, -1, -1)])]


CLASS_ALONE: Final = Reads(class_token="normed")


@dataclass(frozen=True)
class Untouched:
    """What the untouched backbone says of one batch of images, computed when it is asked for."""

    side: ImageSide
    images: Float[Tensor, "B C S S"]
    fixed: int = field(default=FIXED_BATCH, kw_only=True)
    """Images that go through it at once."""

    def tokens(self, reads: Reads) -> ImageTokens:
        """Tokens of every level, and whatever else is read."""
        return tokens_of(self._parts(reads, True), self.side.levels)

    def embedding(self) -> Float[Tensor, "B E"]:
        """Class embeddings after the tower's last norm, not of unit length; computed once."""
        return self._embedding

    @cached_property
    def _embedding(self) -> Float[Tensor, "B E"]:
        return self._parts(CLASS_ALONE, False)["class"]

    def _parts(self, reads: Reads, levels: bool) -> Parts:
        return untouched_parts(self.side, self.images, reads, levels, fixed=self.fixed)
