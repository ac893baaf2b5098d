"""AdaCLIP (Cao et al., ECCV 2024): prompts, stage and head of that name (docs/guide/methods.md)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aaclip_kit import Options, Phrases, Register, Sites, StageOptions, hookimpl

Rounding = Annotated[
    Literal["none", "half"],
    Field(description="prompt tokens as they are; or rounded to half, and so their gradients, as published"),
]

_WRONG = ("flaw", "defect", "damage")
_NORMAL = ("{}", "flawless {}", "perfect {}", "unblemished {}", *(f"{{}} without {wrong}" for wrong in _WRONG))
_ABNORMAL = ("damaged {}", "broken {}", *(f"{{}} with {wrong}" for wrong in _WRONG))
_PHOTOS = ("bad photo of a", "low resolution photo of the", "bad photo of the", "cropped photo of the")


class PromptOptions(Options):
    """Fixed words, and learnt tokens made of the image (AdaCLIP)."""

    published_keys: ClassVar[tuple[str, ...]] = ("clip_model.text_prompter.static_prompts.*",)

    normal: Phrases = Field(_NORMAL, description="states of a sound thing")
    abnormal: Phrases = Field(_ABNORMAL, description="states of a defective thing")
    templates: Phrases = Field(tuple(f"a {of} {{}}." for of in _PHOTOS), description="templates of each state")
    length: int = Field(5, ge=1, description="prompt tokens, for which as many of a prompt's first words give way")
    depth: int = Field(4, ge=2, description="text blocks up to which prompt tokens are replaced; block 0 has none")
    rounding: Rounding = "none"


class VisionOptions(StageOptions):
    """Prompt tokens behind the patches, made of the image (AdaCLIP)."""

    tower: Literal["vision"] = Field("vision", description="the tower whose tokens the stage changes")
    after: Sites = Field(
        (-1, 0, 1, 2), min_length=1, description="block numbers after which prompt tokens enter, -1 for before block 0"
    )
    length: int = Field(5, ge=1, le=1000, description="prompt tokens")
    rounding: Rounding = "none"


class HeadOptions(Options):
    """Linear layers, and the most abnormal patches fused (AdaCLIP)."""

    scale: float = Field(100.0, gt=0, le=1000, description="multiplies every cosine before the softmax")
    fusion: float = Field(0.2, ge=0, le=1, description="share of the fused patches in the image's feature; 0: none")
    patches: int = Field(100, ge=1, description="most abnormal patches that are fused")
    clusters: int = Field(20, ge=1, description="clusters of these patches, each of which counts the same")
    start: Literal["first", "seeded"] = Field(
        "first",
        description="where k-means starts: at the most abnormal patches; or by k-means++ from a generator with `seed`, "
        "new for each image (the published one runs on from image to image)",
    )
    seed: int = Field(111, ge=0, lt=2**32, description="the seed, with start = seeded")
    sigma: float = Field(4.0, gt=0, le=100, description="sigma of the Gaussian over the map, in pixels of the image")


@hookimpl
def register_prompts(register: Register) -> None:
    """Offer `ada_clip`."""
    register("ada_clip", f"{__name__}.prompt_tokens:AdaClipPrompts", PromptOptions)


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `ada_clip`."""
    register("ada_clip", f"{__name__}.prompt_tokens:AdaClipStage", VisionOptions)


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `ada_clip`."""
    register("ada_clip", f"{__name__}.head:AdaClipHead", HeadOptions)
