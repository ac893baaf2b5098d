"""Which images of a data set are used: keys of the engine's own in every data set's table."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .options import Options


class Shots(Options):
    """How many images of each class are drawn, by the experiment's seed."""

    normal: int = Field(ge=0, description="normal images of each class")
    anomalous: int = Field(ge=0, description="anomalous images of each class")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.normal + self.anomalous:
            raise ValueError("no image is asked for: normal and anomalous are both 0")
        return self


class Selection(Options):
    """Which of a data set's images are used: keys of the engine's own in [data.ROLE], whatever `use` names."""

    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="images and manifest rows that are faulty: stop and name them, or go on without them"
    )
    shots: Shots | None = Field(
        None, description="{normal = k, anomalous = k}: so many images of each class, drawn by seed; by default all"
    )


OWN_KEYS: dict[str, tuple[str, ...]] = {"losses": ("weight",), "data": tuple(Selection.model_fields)}
"""Keys that the engine takes out of every component's table of a group, before the plugin's options are checked."""
