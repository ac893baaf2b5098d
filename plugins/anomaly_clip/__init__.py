"""AnomalyCLIP (Zhou et al., ICLR 2024): the prompts `learnt`, and the head `anomaly_clip`."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from aaclip_kit import Options, Register, hookimpl


def _one_place(words: str) -> str:
    if words.count("{}") != 1 or words.count("{") + words.count("}") != 2:
        raise ValueError(f"'{words}' needs {{}} once, where the name stands, and no other braces")
    return words


Words = Annotated[str, AfterValidator(_one_place)]


class LearntOptions(Options):
    """Learnt tokens before the words, and in later text blocks (AnomalyCLIP)."""

    published_keys: ClassVar[tuple[str, ...]] = ("prompt_learner.ctx_pos", "prompt_learner.compound_prompts_text.*")

    name: Literal["object", "class"] = Field(
        "object",
        description='the name in the prompts: the word "object", so that one pair of prompts serves every class, or '
        "the class's real name; the learnt tokens are the same for all classes in both",
    )
    normal: Words = Field("{}.", description="words behind the normal prompt's learnt tokens; {} is the name")
    abnormal: Words = Field("damaged {}.", description="words behind the abnormal prompt's; {} is the name")
    tokens: int = Field(12, ge=1, le=1000, description="learnt tokens of each prompt")
    depth: int | None = Field(
        None,
        ge=1,
        description="text blocks that learnt tokens go into: block 0 takes each prompt's own, the others take deep "
        "tokens; 1 has no deep tokens; by default three quarters of the tower, 9 of 12 blocks",
    )
    deep_tokens: int = Field(
        4, ge=1, description="first learnt tokens of both prompts that each such block replaces by its own"
    )
    deep_rounding: Literal["none", "half"] = Field(
        "none",
        description="deep tokens as they are; or rounded to half precision on their way in, and their gradients on "
        "the way back, as published",
    )

    @model_validator(mode="after")
    def _deep_tokens_have_places(self) -> Self:
        if self.deep_tokens > self.tokens:
            raise ValueError(f"deep_tokens = {self.deep_tokens} is more than the {self.tokens} tokens that there are")
        return self


class AnomalyClipOptions(Options):
    """Patches after V-V attention beside the blocks, and the class token (AnomalyCLIP)."""

    temperature: float = Field(0.07, gt=0, le=100, description="divides every cosine before the softmax")
    class_token: Literal["normed", "raw"] = Field(
        "normed",
        description="class embedding after the tower's last norm; or without it, as published, which published "
        "checkpoints were trained with",
    )
    sigma: float = Field(4.0, gt=0, le=100, description="sigma of the Gaussian over the map, in pixels of the image")


@hookimpl
def register_prompts(register: Register) -> None:
    """Offer `learnt`."""
    register("learnt", f"{__name__}.prompts:Learnt", LearntOptions)


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `anomaly_clip`."""
    register("anomaly_clip", f"{__name__}.head:AnomalyClip", AnomalyClipOptions)
