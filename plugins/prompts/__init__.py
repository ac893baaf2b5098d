"""Prompts of fixed words: states of a class in templates; those of published methods by name (method: section 2)."""

from typing import Literal

from pydantic import Field

from aaclip_kit import Options, Phrases, Register, hookimpl

Ensemble = Literal["aa_clip", "april_gan", "win_clip", "win_clip_published", "ada_clip"]


class WordOptions(Options):
    """States and templates of fixed prompts."""

    ensemble: Ensemble = Field("aa_clip", description="states and templates of a published method, by its name")
    normal: Phrases | None = Field(
        None, description="states of a sound thing in place of the ensemble's, such as 'a flawless {}'"
    )
    abnormal: Phrases | None = Field(None, description="states of a defective thing in their place")
    templates: Phrases | None = Field(None, description="templates in their place, such as 'a photo of {}.'")


class EnsembleOptions(WordOptions):
    """Fixed prompts: each state of a class in each template, averaged."""

    projection: Literal["random", "backbone", "frozen"] = Field(
        "random",
        description="projection into the joint space: trained, from weights drawn by the seed, with LeakyReLU, or from "
        "the backbone's own, without; or the backbone's own, not trained",
    )
    average: Literal["unit", "raw"] = Field(
        "unit",
        description="mean of each state's prompts: of features divided by their norms, and then by its own; or "
        "as they are",
    )


@hookimpl
def register_prompts(register: Register) -> None:
    """Offer `ensemble`."""
    register("ensemble", f"{__name__}.ensemble:Ensemble", EnsembleOptions)
