"""The head contract: what patches, class token and text features become: predictions, a map, an image score."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from .backbone import Backbone
from .data import Domain
from .loss import LossInput
from .prompts import Drawn, matrix_of


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What a head takes of the vision tower.

    `surgery`: the blocks' own attention ("none"); V-V attention in its place from `surgery_start` on ("values"); or a
    second stream, which adds the V-V attention of the plain stream's tokens block by block, without MLP ("beside").
    `normed` and `projected`: patch tokens after the tower's last norm, and after the backbone's own projection.
    `class_token`: the class embedding of the last block, by the backbone's projection after the last norm ("normed") or
    without it ("raw"). `windows`: sides, in patches, of the square windows whose class embeddings are wanted.
    """

    surgery: Literal["none", "values", "beside"] = "none"
    surgery_start: int | None = None
    """First block with surgery; None: the backbone's own."""
    normed: bool = True
    projected: bool = False
    class_token: Literal["none", "normed", "raw"] = "none"
    windows: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageTokens:
    """What was read of a batch of images. D is E where the tokens are projected, else Dv.

    `windows` has by side the class embeddings of all windows at stride 1, row by row of their upper left corners, each
    of the tokens before all patches and the window's patches alone, through all blocks. Neither they nor
    `class_embedding` are of unit length.
    """

    levels: dict[int, Float[Tensor, "B N D"]]
    class_embedding: Float[Tensor, "B E"] | None = None
    windows: dict[int, Float[Tensor, "B W E"]] | None = None


@dataclass(frozen=True)
class ImageFeatures:
    """What a head makes of an image alone: patch features by level, and one feature of the whole image or of windows.

    The first level's patches are what text stages attend to, of width E for them. The image's feature may have another
    width than patches.
    """

    levels: dict[int, Float[Tensor, "B N F"]]
    detection: Float[Tensor, "B Fi"] | None = None
    windows: dict[int, Float[Tensor, "B W E"]] | None = None


@dataclass(frozen=True)
class Scores:
    """Raw scores of a batch: the map on the patch grid and at the image size, and the image score beside the map."""

    grid: Float[Tensor, "B G G"]
    maps: Float[Tensor, "B S S"]
    detection: Float[Tensor, " B"]

    @property
    def map_peak(self) -> Float[Tensor, " B"]:
        """Largest value of each map."""
        return self.maps.flatten(1).amax(dim=1)


@dataclass(frozen=True, kw_only=True)
class HeadSetting:
    """What a head's factory is told: the backbone, the levels that are read, and how first weights are drawn."""

    backbone: Backbone
    levels: tuple[int, ...]
    drawn: Drawn

    def own_projection(self) -> Float[Tensor, "E Dv"]:
        """Return the matrix of the backbone's own image projection; a constant that it adds is left out."""
        return matrix_of(self.backbone.project_image, self.backbone.vision.width)


class Head(nn.Module, ABC):
    """Turns what was read of images, and text features `[B, E, 2]` (normal, abnormal), into predictions and scores.

    Its parameters train in vision phases. Where no stage acts in the vision tower, tokens are read of the untouched
    backbone and kept. `text` is None for a head without `needs_text`.
    """

    reads: Reads
    untrained_reads: Reads | None = None
    """What is read of the untouched backbone before training, and where a phase sees frozen features; None: `reads`."""

    needs_text: ClassVar[bool] = True
    makes: ClassVar[frozenset[LossInput]] = frozenset({"level_probabilities", "detection_logits"})
    """Predictions that losses can ask for."""

    shown: tuple[float, float] = (0.0, 1.0)
    """Map values of the darkest and the brightest colour of a picture, the middle being as normal as abnormal."""

    @abstractmethod
    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Return the features of images; `tokens` may have some of the levels only."""

    def untrained_features(self, tokens: ImageTokens) -> ImageFeatures:
        """Return the features of the untouched backbone, from `untrained_reads`; by default what `features` gives."""
        return self.features(tokens)

    def for_text(self, features: ImageFeatures, embedding: Callable[[], Float[Tensor, "B E"]]) -> ImageFeatures:
        """Return the trained features as text phases see them; by default as they are.

        `embedding` gives the class embeddings of the untouched backbone, not of unit length.
        """
        return features

    @abstractmethod
    def level_probabilities(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """Return each level's probabilities of (normal, abnormal) at every pixel of `size` x `size`."""

    def detection_logits(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B 2"]:
        """Return logits of (normal, abnormal) for the whole image. A head that `makes` none need not have them."""
        raise NotImplementedError

    @abstractmethod
    def score(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int, domain: Domain, smooth: bool
    ) -> Scores:
        """Return maps and image scores, higher where more anomalous; without `smooth` the maps are not blurred."""

    def map_probability(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return values of the map as probabilities of "abnormal": its scale made absolute. By default as they are."""
        return values

    published_unused: tuple[str, ...] = ()
    """Patterns, with * for any text, of keys in published checkpoints that no parameter stands for."""

    def published_names(self) -> dict[str, str]:
        """Return the key in published checkpoints of each parameter, by its name here; empty where there are none.

        A key in a table of a file has the table's name before it: TABLE.KEY.
        """
        return {}
