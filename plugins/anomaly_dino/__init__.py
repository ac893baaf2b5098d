"""The reference `anomaly_dino`: nearest patches of the last block, alone (Damm et al., "AnomalyDINO", WACV 2025)."""

from typing import Literal

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl


class AnomalyDinoOptions(Options):
    """Nearest patches of the last block, alone, with a mask of the background; any backbone (AnomalyDINO)."""

    neighbours: int = Field(1, ge=1, le=100, description="nearest patches that a patch's distance is the mean over")
    mask: Literal["none", "grid", "rows"] = Field(
        "none",
        description="patches of the background, which score 0: none; by the first principal component of the image's "
        "patches, opened and closed on the grid; or, as published, along its rows as one line",
    )
    threshold: float = Field(
        10.0, description="value of that component above which a patch is of the object; in units of the features"
    )
    sigma: float = Field(
        4.0,
        ge=0,
        le=64,
        description="standard deviation, in pixels, of the Gaussian that smooths the map where evaluation.blur is on; "
        "0 smooths nothing",
    )


@hookimpl
def register_references(register: Register) -> None:
    """Offer `anomaly_dino`."""
    register("anomaly_dino", f"{__name__}.memory:AnomalyDino", AnomalyDinoOptions)
