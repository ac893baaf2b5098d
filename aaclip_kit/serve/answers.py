"""What a client is told of an image: the line that `aakit predict` writes of it, and pictures."""

from enum import StrEnum
from io import BytesIO
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from ..inference.draw_predictions import AT_THRESHOLD, facts_of, heat_scale, pictures_of
from ..inference.prediction import Prediction
from ..record.heatmap import coloured, outlined
from ..report.figures import data_uri

Drawn = StrEnum("Drawn", ["photo", "overlay", "heatmap", "mask"])
"""Pictures that can be asked for: small ones of the photograph, and what `aakit predict` writes, at its own size."""

FROM_PHOTO: Final = frozenset({Drawn.photo, Drawn.overlay})
"""Those that are made from the photograph."""

_QUALITY: Final = 85
_LEAST, _MOST = 0.35, 0.75
"""How much of the overlay is heat, at the threshold and at the brightest colour."""


def answer_of(
    prediction: Prediction, *, name: str, shown: tuple[float, float], photo: Image.Image | None, drawn: set[Drawn]
) -> dict[str, Any]:
    """Return an image's answer, with the pictures that are `drawn`; `shown` is the head's scale of colours."""
    height, width = prediction.anomaly_map.shape
    answer = {"name": name, "width": width, "height": height, **facts_of(prediction)}
    if photo is not None and Drawn.photo in drawn:
        answer["photo"] = _jpeg(photo)
    if photo is not None and Drawn.overlay in drawn:
        answer["overlay"] = _jpeg(overlay(prediction, photo, shown))
    if drawn & {Drawn.heatmap, Drawn.mask}:
        made = pictures_of(prediction, shown)
        answer |= {kind: _png(made[kind]) for kind in ("heatmap", "mask") if kind in drawn and kind in made}
    return answer


def overlay(prediction: Prediction, photo: Image.Image, shown: tuple[float, float]) -> Image.Image:
    """Lay what is hot over a photograph, and draw a line around the mask; without a threshold all is laid over it."""
    low, high = heat_scale(prediction.map_threshold, shown)
    values = _shrunk(prediction.anomaly_map, photo.size)
    shares = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    floor = 0.0 if prediction.map_threshold is None else AT_THRESHOLD
    weights = _LEAST + (_MOST - _LEAST) * (shares - floor) / (1 - floor)
    hot = shares > floor
    if prediction.looked_at is not None:
        hot &= _inside(prediction.looked_at, photo.size)
    weights = np.where(hot, weights, 0)[..., None]
    pixels = np.asarray(photo) * (1 - weights) + coloured(values, (low, high)) * weights
    mixed = Image.fromarray(pixels.round().astype(np.uint8))
    mask = prediction.mask
    return mixed if mask is None or not mask.any() else outlined(mixed, _inside(mask, photo.size))


def _shrunk(values: Float32[np.ndarray, "H W"], size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    small: np.ndarray = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    return small


def _inside(mask: Bool[np.ndarray, "H W"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A mask at a small picture's size: each of its pixels stands for many, and is inside where any of them is."""
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    inside: np.ndarray = np.asarray(small) > 0
    return inside


def _jpeg(picture: Image.Image) -> str:
    out = BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return data_uri("image/jpeg", out.getvalue())


def _png(pixels: UInt8[np.ndarray, "H W *C"]) -> str:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return data_uri("image/png", out.getvalue())
