"""Options models: how a plugin states what may stand in its table of the experiment file."""

from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

TowerName = Literal["text", "vision"]
"""One of a backbone's two towers."""

TOWERS: Final[tuple[TowerName, ...]] = get_args(TowerName)
"""Both, text first."""

Indices = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
"""Block or level numbers; a TOML array of integers."""


class Options(BaseModel):
    """Base of every options model. Unknown keys, wrong types and numbers that are not finite are errors.

    Give each field a `description`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class BackboneOptions(Options):
    """Options of a backbone; needed where it has no text tower, which is then known before anything is built."""

    has_text: ClassVar[bool] = True
    """False for a backbone whose `text` is None."""


class StageOptions(Options):
    """Options that every attention stage and adapter has: where it sits."""

    tower: TowerName = Field(description="the tower whose tokens the stage changes")
    after: Indices = Field(
        description="block numbers, from 0, after which the stage acts; one module for each", min_length=1
    )
