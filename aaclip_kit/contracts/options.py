"""Options models: how a plugin states what may stand in its table of the experiment file."""

from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

TowerName = Literal["text", "vision"]
"""One of a backbone's two towers."""

TOWERS: Final[tuple[TowerName, ...]] = get_args(TowerName)
"""Both, text first."""

Indices = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
"""Block or level numbers; a TOML array of integers."""

Sites = Annotated[tuple[Annotated[int, Field(ge=-1)], ...], Field(strict=False)]
"""Block numbers that a stage acts after, -1 for before the first block; a TOML array of integers."""


def _one_place(text: str) -> str:
    if text.count("{}") != 1 or text.count("{") + text.count("}") != 2:
        raise ValueError(f"'{text}' needs {{}} once, where the name stands, and no other braces")
    return text


Phrases = Annotated[tuple[Annotated[str, AfterValidator(_one_place)], ...], Field(strict=False, min_length=1)]
"""Texts with {} once, where a name stands; a TOML array of strings, not empty."""


class Options(BaseModel):
    """Base of every options model. Unknown keys, wrong types and numbers that are not finite are errors.

    Give each field a `description`.
    """

    published_keys: ClassVar[tuple[str, ...]] = ()
    """Patterns, with * for any text, of keys by which a published checkpoint of the component is known."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=(), defer_build=True
    )


class BackboneOptions(Options):
    """Options of a backbone; needed where it has no text tower, which is then known before anything is built."""

    has_text: ClassVar[bool] = True
    """False for a backbone whose `text` is None."""


class StageOptions(Options):
    """Options that every attention stage and adapter has: where it sits."""

    tower: TowerName = Field(description="the tower whose tokens the stage changes")
    after: Sites = Field(
        description="block numbers, from 0, after which the stage acts, -1 for before the first; one module for each",
        min_length=1,
    )
