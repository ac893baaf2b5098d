"""The stage contract: a module between two blocks of a tower. A residual adapter is a stage without a context."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .deprecation import renamed_argument, renamed_attribute
from .options import TowerName

ContextKind = Literal["none", "image", "text", "class"]
"""What a stage attends to: an image's patches, the words of its class, or the image's one class embedding, each by the
untouched backbone, so far as the text's own adapters leave it that. Text stages have "none" or "image"."""


@renamed_argument("StageSetting.text_context_width", lambda width: {})
@dataclass(frozen=True, kw_only=True)
class StageSetting:
    """What a stage factory is told: its site, and every width that it may need.

    `width` is the tower's own (`Dt` or `Dv`), `image_context_width` is E, of an image or class context; a text context
    has `text_width` (`Dt`; E where the backbone has no text). In the vision tower `prefix_tokens` stand before the
    patches: the class token, and others such as registers. A stage that is one for all its sites is told the first.
    """

    tower: TowerName
    after: int
    width: int
    text_width: int
    vision_width: int
    image_context_width: int
    prefix_tokens: int = 1

    text_context_width = renamed_attribute("StageSetting.text_context_width", "text_width")


@dataclass(frozen=True)
class Context:
    """What a stage attends to. Item i of the stage's tokens belongs to row `i // (items / rows)` of the context.

    So a batch of images, each with P prompts, shares one row an image instead of P copies of it.
    `mask` is true where a token may be attended to; None means everywhere. `row_of` is None, except for a stage that
    says that it `reads_row_of`: then it may name the row of each item, and rows come once though items mix them.
    """

    tokens: Float[Tensor, "rows M C"]
    mask: Bool[Tensor, "rows M"] | None = None
    row_of: Int[Tensor, " items"] | None = None

    def expanded(self, items: int) -> "Context":
        """The same context with one row for each of `items` items. Raises ValueError where they do not divide."""
        if self.row_of is not None:
            # Not tokens[row_of]: with several threads its gradient adds up in any order.
            mask = None if self.mask is None else self.mask.index_select(0, self.row_of)
            return Context(self.tokens.index_select(0, self.row_of), mask)
        rows = self.tokens.shape[0]
        if items % rows:
            raise ValueError(f"{items} items cannot share {rows} context rows evenly")
        repeat = items // rows
        mask = None if self.mask is None else self.mask.repeat_interleave(repeat, dim=0)
        return Context(self.tokens.repeat_interleave(repeat, dim=0), mask)


class AttentionStage(nn.Module, ABC):
    """Changes a tower's tokens after one block; `context_kind` says what it attends to.

    Items are independent: an item's result may depend on its own tokens and its own context row only.
    """

    context_kind: ClassVar[ContextKind] = "none"
    reads_row_of: ClassVar[bool] = False
    """Whether the stage goes by `Context.row_of`; the engine expands the context for a stage that does not."""
    one_for_all_sites: ClassVar[bool] = False
    """Whether one module acts at all sites of its table, and is told which by `forward(tokens, context, site=...)`."""
    inserts: int = 0
    """Tokens that a stage of the vision tower appends behind the others, at its first site. They go on through the
    blocks, stand last at its later sites, and no head takes them for patches."""

    @abstractmethod
    def forward(self, tokens: Float[Tensor, "items L D"], context: Context | None) -> Float[Tensor, "items L D"]:
        """Return the tokens after the stage, in the same shape but for what it `inserts`.

        `context` is None exactly for kind "none".
        """

    def loss_terms(self) -> dict[str, Tensor]:
        """Return scalar terms of the stage's own, made by its last `forward`, that its phase's objective gets too."""
        return {}

    published_unused: tuple[str, ...] = ()
    """Patterns, with * for any text, of keys in published checkpoints that no parameter stands for."""

    def published_names(self) -> dict[str, str]:
        """Return the key in published checkpoints of each parameter, by its name here; empty where there are none.

        A key in a table of a file has the table's name before it: TABLE.KEY.
        """
        return {}


@runtime_checkable
class ShowsAttention(Protocol):
    """Optional for a stage: it can say where it looks, and then a run's report draws that."""

    def attention_weights(
        self, tokens: Float[Tensor, "items L D"], context: Context
    ) -> Float[Tensor, "items heads L M"]:
        """Return the weight that each token gives each token of its context row, in each head.

        Called with what `forward` gets, `site` too of a stage that is one for all of them, without dropout. The weights
        of a query are not negative and sum to 1 over M; they are 0 where the context's mask is false. Rows of the
        context are not copied for the caller.
        """
        ...
