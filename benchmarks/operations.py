"""Floating-point operations that a step or a score needs, counted from the sizes of the model; a product counts two.

Counted are matrix products and the patch convolution, nothing element by element. Of a step: forward; gradients of the
activations from the first trained module on; gradients of trained weights, of no frozen ones. Attention counts all
pairs of tokens, its backward pass twice its forward pass; what an implementation computes a second time is not
counted. Text counts the tokens that are walked (up to the last end-of-text), once a class where nothing tells images
of a class apart.
"""

from dataclasses import dataclass

from aaclip_kit import Backbone
from aaclip_kit.contracts.backbone import text_tower
from aaclip_kit.contracts.options import TowerName
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.model.prompts import PromptBook
from aaclip_kit.model.text_tower import TEXT_CONTEXT_BLOCK


@dataclass(frozen=True)
class Work:
    """Operations of a part's forward pass: of layers by weights, and of products between activations."""

    weights: float = 0.0
    pairs: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.weights + other.weights, self.pairs + other.pairs)

    def __mul__(self, times: float) -> "Work":
        return Work(self.weights * times, self.pairs * times)

    @property
    def forward(self) -> float:
        """Operations forwards."""
        return self.weights + self.pairs

    @property
    def backward(self) -> float:
        """Operations of the gradients of all activations that go in; weights take none."""
        return self.weights + 2 * self.pairs


def linear(rows: float, inputs: int, outputs: int) -> Work:
    """Rows through a linear layer."""
    return Work(weights=2.0 * rows * inputs * outputs)


def attention(queries: float, keys: float, width: int) -> Work:
    """Weights and weighted sum, over all heads together."""
    return Work(pairs=4.0 * queries * keys * width)


def block(length: int, width: int, values_only: bool = False) -> Work:
    """A transformer block on `length` tokens, its inner layer four times as wide."""
    parts = 10 if values_only else 12
    return linear(length, width, parts * width) + attention(length, length, width)


def all_windows(backbone: Backbone, side: int) -> Work:
    """Embeddings of all windows of an image: each the class token and `side` x `side` patches, through every block."""
    count, tower = (backbone.grid - side + 1) ** 2, backbone.vision
    walked = block(1 + side * side, tower.width) * tower.depth + linear(1, tower.width, backbone.embedding_width)
    return walked * count


@dataclass(frozen=True)
class Operations:
    """Counts of one detector, whose batches have images of `classes`."""

    model: AnomalyModel
    names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Classes in a batch."""
        return len(self.names)

    @property
    def prompts(self) -> int:
        """Prompts of a class."""
        return self._book.tokens.shape[1]

    @property
    def text_length(self) -> int:
        """Tokens of a prompt that are walked."""
        rows = [self._book.rows[name] for name in self.names]
        return int(self._book.ends[rows].max()) + 1

    @property
    def context_length(self) -> int:
        """Tokens of a prompt in the text context: all of them where padding is attended to."""
        attended = self.model.switches.text_context_padding == "attended"
        return self.model.backbone.context_length if attended else self.text_length

    @property
    def _book(self) -> PromptBook:
        assert self.model.text is not None
        return self.model.text.book

    @property
    def _backbone(self) -> Backbone:
        return self.model.backbone

    @property
    def _patches(self) -> int:
        return self._backbone.grid**2

    @property
    def _tokens(self) -> int:
        return self._patches + 1

    @property
    def _width(self) -> int:
        return self._backbone.vision.width

    @property
    def _text_width(self) -> int:
        return text_tower(self._backbone).width

    @property
    def _joint(self) -> int:
        return self._backbone.embedding_width

    def scoring(self, batch: int, attention_acts: bool) -> float:
        """Scoring a batch of one class whose text feature is known."""
        whole = (self._image() + self._image_adapters() + self._image_heads() + self._similarity()) * batch
        if attention_acts:
            whole += self._image_attention() * batch + self._text_context() + self._keys_of_class()
        return whole.forward

    def stage2(self, batch: int) -> float:
        """A step of a vision phase, image stage acting; its text features are fixed."""
        trained = self._image_adapters() + self._image_heads() + self._image_attention()
        once = (self._text_context() + self._keys_of_class()) * self.classes
        forward = (self._image() + trained + self._similarity()) * batch + once
        walked = (max(self.model.levels) - 1 - self._first_site("vision")) * batch
        # Nothing before the image stage takes a gradient, and so not its query layer's input either.
        into_query = linear(self._tokens, self._width, self._text_width) * batch
        # Of the similarity only the patches' side takes a gradient.
        backward = (trained + self._similarity() * 0.5) * batch + block(self._tokens, self._width) * walked
        weights = trained.weights * batch + self._keys_of_class().weights * self.classes
        return forward.forward + backward.backward - into_query.backward + weights

    def stage1(self, batch: int, cached: bool) -> float:
        """A step of a text phase on frozen features, text stage acting; `cached` features cost nothing."""
        width = self._text_width
        first, depth = self._first_site("text"), text_tower(self._backbone).depth
        own_context = self.model.switches.image_context == "own"
        rows = self.prompts * (batch if own_context else self.classes)
        per_class = block(self.text_length, width) * ((first + 1) * self.prompts * self.classes)
        layer = linear(self.text_length, width, width) * rows
        looks = attention(self.text_length, self._patches, width) * rows
        keys = linear(self._patches, self._joint, 2 * width) * (batch if own_context else 1)
        adapters, head = layer * self._adapters("text"), linear(rows, width, self._joint)
        after = block(self.text_length, width) * ((depth - 1 - first) * rows)
        maps = self._similarity(self._levels_in_text_loss) * batch
        forward = per_class + layer * 2 + looks + keys + adapters + head + after + maps
        # Nothing before the text stage takes a gradient, and so not its query layer's input either.
        backward = layer + looks + adapters + head + after + maps * 0.5
        weights = (layer * 2 + keys + adapters + head).weights
        image = 0.0 if cached else batch * self._frozen(batch).forward
        return image + forward.forward + backward.backward + weights

    def _frozen(self, batch: int) -> Work:
        """Frozen features of one image of a batch: one plain pass, and one with V-V attention where that begins."""
        blocks = max(self.model.levels) - self._backbone.surgery_start
        operated = block(self._tokens, self._width, values_only=True) * blocks
        if self.model.switches.surgery_attention == "batch":
            operated = Work(operated.weights, attention(self._tokens, batch, self._width).pairs * blocks)
        plain = self._embedding() + block(self._tokens, self._width) * self._backbone.vision.depth
        wanted = min(self._levels_in_text_loss + 1, len(self.model.levels))
        return plain + operated + linear(self._patches * wanted + 1, self._width, self._joint)

    @property
    def _levels_in_text_loss(self) -> int:
        return 1 if self.model.switches.text_loss_levels == "last" else len(self.model.levels)

    def _image(self) -> Work:
        return self._embedding() + block(self._tokens, self._width) * max(self.model.levels)

    def _embedding(self) -> Work:
        return linear(self._patches, 3 * (self._backbone.image_size // self._backbone.grid) ** 2, self._width)

    def _image_adapters(self) -> Work:
        return linear(self._tokens, self._width, self._width) * self._adapters("vision")

    def _image_heads(self) -> Work:
        return linear(self._patches, self._width, self._joint) * (len(self.model.levels) + 1)

    def _image_attention(self) -> Work:
        """The image stage of one image, without the keys and values, which its class has in common."""
        tokens = self._tokens
        looks = attention(tokens, self.prompts * self.context_length, self._text_width)
        return linear(tokens, self._width, self._text_width) + linear(tokens, self._text_width, self._width) + looks

    def _keys_of_class(self) -> Work:
        return linear(self.prompts * self.context_length, self._text_width, 2 * self._text_width)

    def _text_context(self) -> Work:
        stages = [stage for at, _, stage in self.model.slots.of("text") if at == TEXT_CONTEXT_BLOCK]
        adapters = sum(stage.context_kind == "none" for stage in stages)
        walked = (
            block(self.context_length, self._text_width)
            + linear(self.context_length, self._text_width, self._text_width) * adapters
        )
        return walked * self.prompts

    def _similarity(self, levels: int | None = None) -> Work:
        """Patches against both text features, at some levels or all."""
        return Work(pairs=2.0 * self._patches * self._joint * 2 * (levels or len(self.model.levels)))

    def _adapters(self, tower: TowerName) -> int:
        return sum(stage.context_kind == "none" for _, _, stage in self.model.slots.of(tower))

    def _first_site(self, tower: TowerName) -> int:
        return min(block for block, _, _ in self.model.slots.of(tower))
