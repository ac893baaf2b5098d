"""Line figures as SVG inside an `<img>`: matplotlib draws lines and axes, the page writes the names beside them.

So no name that a user gave reaches matplotlib, where a dollar sign would be a formula and a rare letter a warning.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from ..contracts.errors import plain_lines
from ..data.decode import open_picture
from ..data.image_file import read_content

Points = Sequence[Sequence[float]]
"""Pairs of x and y."""

COLOURS: Final = ("#0072b2", "#c44e00", "#00775a", "#a8437f", "#8a6a00")
"""Okabe and Ito's colours, darkened to a contrast of 3 or more on white; told apart with any colour vision."""

DASHES: Final = ("solid", "dashed", "dotted", "dashdot")
INK: Final = "#1d1d1f"
MOST_POINTS: Final = 300


@dataclass(frozen=True)
class Line:
    """A named line: its points, its colour, its dashes, its width in points.

    `band` has x, lowest and highest of an area around it; with `dots` each point is marked.
    """

    name: str
    points: Points
    colour: str
    _: KW_ONLY
    dash: str = "solid"
    width: float = 1.4
    band: Points = ()
    dots: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its title, what it shows in words, its data URI, and the lines for the key beside it."""

    title: str
    alt: str
    uri: str
    key: tuple[Line, ...]


@dataclass(frozen=True)
class Axes:
    """Names of both axes, their limits where they are fixed, and places of thin vertical lines.

    `places` are numbers that stand below x = 0, 1, 2 and so on.
    """

    x: str
    y: str
    _: KW_ONLY
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    logarithmic: bool = False
    borders: tuple[float, ...] = ()
    places: tuple[int, ...] = ()


def styles() -> Iterator[tuple[str, str]]:
    """Colours with dashes, twenty different ones, then again from the first."""
    return cycle((colour, dash) for dash in DASHES for colour in COLOURS)


def shades(count: int) -> list[str]:
    """Colours of an ordered series, dark to light; the palest tenth of viridis would be lost on white."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.72, max(2, count)))][:count]


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """Means over equal stretches of a line, `most` of them at most; a short line comes back as it is."""
    if len(points) <= most:
        return points
    return [tuple(np.mean(part, axis=0).tolist()) for part in np.array_split(np.array(points), most)]


def line_figure(title: str, alt: str, lines: Sequence[Line], axes: Axes) -> Figure:
    """Draw the lines in their order, the last on top."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    settings: Any = {"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 11, "axes.edgecolor": "#8a8d94"}
    with mpl.rc_context({**settings, "text.color": INK, "axes.labelcolor": INK}):
        drawing = Drawing(figsize=(5.2, 3.2), layout="constrained")
        plot = drawing.add_subplot()
        for border in axes.borders:
            plot.axvline(border, color="#c9ccd1", linewidth=0.8)
        for line in lines:
            x, y = zip(*line.points, strict=True) if line.points else ((), ())
            marker = "o" if line.dots else None
            plot.plot(x, y, color=line.colour, linestyle=line.dash, linewidth=line.width, marker=marker, markersize=4)
            if line.band:
                x, low, high = zip(*line.band, strict=True)
                plot.fill_between(x, low, high, color=line.colour, alpha=0.15, linewidth=0)
        plot.set(xlabel=axes.x, ylabel=axes.y)
        if axes.logarithmic:
            plot.set_yscale("log")
        if axes.places:
            plot.set_xticks(range(len(axes.places)), [str(place) for place in axes.places])
        for limits, fix in ((axes.x_limits, plot.set_xlim), (axes.y_limits, plot.set_ylim)):
            if limits:
                fix(*limits)
        plot.grid(color="#e2e3e6", linewidth=0.6)
        plot.set_axisbelow(True)
        plot.spines[["top", "right"]].set_visible(False)
        out = io.BytesIO()
        drawing.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    return Figure(title, alt, data_uri("image/svg+xml", out.getvalue()), tuple(lines))


def page_template(package: str, name: str = "page.html") -> Template:
    """Return a page of a package: what it shows is escaped, and a name that it is not given is an error.

    It may include what this package has, such as its style.
    """
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader(__package__, ".")])
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_as_letters, trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)  # fmt: skip


def _as_letters(value: Any) -> Any:
    """Spell out marks that turn the direction of what follows them on the page; what is HTML already has none."""
    return plain_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def data_uri(kind: str, data: bytes) -> str:
    """`data:` followed by the type and the bytes in base64."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


BUDGET: Final = 3_200_000
"""Bytes of all pictures together before base64, which adds a third."""

_QUALITY: Final = 86


@dataclass(frozen=True)
class Picture:
    """An embedded picture: what it shows in words, its data URI and its size in pixels."""

    alt: str
    uri: str
    width: int
    height: int


@dataclass
class Budget:
    """Counts the bytes that pictures take."""

    left: int = BUDGET

    def embed(self, alt: str, pixels: UInt8[np.ndarray, "H W 3"]) -> Picture:
        """The picture as JPEG; what it takes is counted, and refused by nobody: ask `left` before the next."""
        data = _jpeg(Image.fromarray(pixels))
        self.left -= len(data)
        return Picture(alt, data_uri("image/jpeg", data), pixels.shape[1], pixels.shape[0])


def embedded_pictures(files: Sequence[Path], budget: int = BUDGET) -> tuple[list[Picture], int]:
    """Return the pictures, and how many had to be left out.

    The files go in as they are where they fit the budget together, otherwise as JPEG, as many as fit.
    """
    lossless = sum(file.stat().st_size for file in files) <= budget
    pictures: list[Picture] = []
    spent = 0
    for file in files:
        content = read_content(file)
        opened = open_picture(file, content)
        data = content if lossless else _jpeg(opened)
        if spent + len(data) > budget:
            break
        spent += len(data)
        uri = data_uri("image/png" if lossless else "image/jpeg", data)
        pictures.append(Picture(file.stem.replace("_", " "), uri, *opened.size))
    return pictures, len(files) - len(pictures)


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
