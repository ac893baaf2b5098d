"""The contact sheet of predictions: one HTML file with the worst images, their masks' outlines and their maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from ..contracts.errors import MISSING, UserError
from ..data.decode import open_picture
from ..data.image_file import DECODING
from ..record.heatmap import coloured, outlined
from .examples_section import Panel
from .figures import Budget, page_template

MOST_PICTURES: Final = 60
"""Images that are shown with pictures; the next ones stand in a table."""

MOST_ROWS: Final = 1000
"""Images that the sheet names."""

_SIDE: Final = 240
"""Longest side of a picture, in pixels."""

Line = Mapping[str, Any]
"""What is written of an image: its path, score, decision, and pictures below the sheet's folder."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What the sheet says: the images, worst first, how many there are, and where the colours' threshold lies.

    `at_threshold` is the share of the colours, from the dark end, that lies below it; None without a threshold. `facts`
    are pairs of label and text on what the images were scored with. What is not `looked_at` is dark in the photographs.
    `good_images` have known scores.
    """

    worst: Sequence[Line]
    decisions: Mapping[str, int]
    folder: Path
    at_threshold: float | None
    facts: Sequence[tuple[str, str]] = ()
    looked_at: Bool[np.ndarray, "H W"] | None = None
    good_images: int = 0

    def html(self) -> bytes:
        """Return the page, which needs nothing beside it. Pictures that are gone, and more than fit, are left out."""
        budget = Budget()
        scale = _scale(self.at_threshold, budget)
        shown = [_card(line, self, budget) for line in self.worst[:MOST_PICTURES] if budget.left > 0]
        rows = [_row(line, self.good_images) for line in self.worst[:MOST_ROWS]]
        count = sum(self.decisions.values())
        title = f"{count:,} image{'' if count == 1 else 's'}, worst first"
        html = page_template(__package__, "contact_sheet.html").render(
            title=title, decisions=sorted(self.decisions.items()), scale=scale, cards=shown,
            rows=rows[len(shown) :], more=count - len(rows), facts=self.facts,
        )  # fmt: skip
        # The name of an image file may be in another encoding.
        return html.encode("utf-8", errors="backslashreplace")


def _row(line: Line, good_images: int) -> dict[str, Any]:
    above = line.get("good_above")
    return {
        "name": line["path"],
        "decision": line["decision"] or MISSING,
        "score": f"{line['score']:.4g}",
        "is_certain": above is not None,
        "good_above": MISSING if above is None else f"{round(above * good_images):,} of {good_images:,}",
    }


def _card(line: Line, sheet: Sheet, budget: Budget) -> dict[str, Any]:
    name, folder = line["path"], sheet.folder
    try:
        photo = _shaded(_small(open_picture(Path(name))), sheet.looked_at)
    except UserError as fault:
        return {
            **_row(line, sheet.good_images),
            "panels": [Panel(f"photo: {fault.problem}", None), _map(line, folder, budget)],
        }
    panels = [Panel("photo", budget.embed(f"Photo: {name}", np.asarray(photo)))]
    if line.get("mask"):
        mask = _opened(folder / line["mask"])
        # Each pixel of the small picture stands for many: it is inside where any of them is.
        inside = None if mask is None else np.asarray(mask.convert("L").resize(photo.size, Image.Resampling.BOX)) > 0
        panels.append(_outline(name, photo, inside, budget))
    return {**_row(line, sheet.good_images), "panels": [*panels, _map(line, folder, budget)]}


def _outline(name: str, photo: Image.Image, inside: UInt8[np.ndarray, "H W"] | None, budget: Budget) -> Panel:
    if inside is None:
        return Panel("mask: its file is gone", None)
    if not inside.any():
        return Panel("mask: empty", None)
    return Panel("mask", budget.embed(f"Outline of the mask: {name}", np.asarray(outlined(photo, inside))))


def _map(line: Line, folder: Path, budget: Budget) -> Panel:
    heat = _opened(folder / line["heatmap"])
    if heat is None:
        return Panel("map: its file is gone", None)
    return Panel("map", budget.embed(f"Anomaly map: {line['path']}", np.asarray(_small(heat.convert("RGB")))))


def _opened(path: Path) -> Image.Image | None:
    """A picture that was written beside the sheet; None where it is there no more."""
    try:
        with DECODING, Image.open(path) as picture:
            picture.load()
            return picture
    except OSError:
        return None


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    return small


def _shaded(photo: Image.Image, looked_at: Bool[np.ndarray, "H W"] | None) -> Image.Image:
    """The picture, dark where it is not looked at."""
    if looked_at is None:
        return photo
    seen = Image.fromarray(looked_at.astype(np.uint8) * 255).resize(photo.size, Image.Resampling.BOX)
    return Image.composite(photo, photo.point(lambda value: value // 4), seen)


def _scale(at_threshold: float | None, budget: Budget) -> dict[str, Any]:
    """A bar of the colours, from what is normal to what is anomalous, with a white line at the threshold."""
    bar = coloured(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(12, axis=0), (0.0, 1.0)).copy()
    alt = "Colours of the maps, from normal, dark, to anomalous, bright"
    if at_threshold is not None:
        place = round(at_threshold * 255)
        bar[:, place - 1 : place + 1] = 255
        alt += "; a white line at the threshold"
    return {"bar": budget.embed(alt, bar), "has_threshold": at_threshold is not None}
