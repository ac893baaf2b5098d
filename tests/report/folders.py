"""Run folders for the report: what an older version left, and what a run leaves now."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aaclip_kit.record.examples_file import Example, ExamplesFile
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.report.page import write_report

NASTY = "<script>alert(1)</script> $x^2$ _a"
"""A class name that is mark-up, a formula and the start of what matplotlib leaves out of a legend."""


class Page(HTMLParser):
    """Collects the text of every table row, the attributes of every tag, and all text outside of style."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.cell = self.skip = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, *pair) for pair in attrs]
        self.skip = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")
        self.skip = False

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.rows[-1][-1] += data
        if not self.skip:
            self.text += data


def read(folder: RunFolder) -> tuple[str, Page]:
    """Make the report; its HTML, and what a reader finds in it."""
    path = write_report(folder.path)
    assert path == folder.report
    html = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    page.rows = [[" ".join(cell.split()) for cell in row] for row in page.rows]
    page.text = " ".join(page.text.split())
    return html, page


def result(base: float, image: float | None = 0.5, second: str = "wood") -> dict[str, Any]:
    """An evaluation of two classes; without an image figure the reason stands among the undefined."""
    row = {
        "pixel_auroc": base, "pixel_aupro": base - 0.1, "pixel_ap": base / 2, "pixel_f1max": base / 4,
        "image_auroc": image, "image_ap": image, "image_f1max": image,
    }  # fmt: skip
    reasons = {name: "images of one label only" for name, value in row.items() if value is None}
    undefined = {"tile": reasons, second: reasons} if reasons else {}
    classes = {"tile": row, second: {**row, "pixel_auroc": base + 0.1}}
    return {"classes": classes, "mean": row, "undefined": undefined}


def manifest() -> dict[str, Any]:
    """A finished run's."""
    counts = {"tile": {"normal": 4, "anomalous": 2}, "wood": {"normal": 3, "anomalous": 3}}
    return {
        "versions": {"python": "3.11.7"},
        "plugins": {"losses": "0.1.0"},
        "git": {"commit": "abc123", "modified": True},
        "platform": "Linux",
        "device": {"name": "cpu", "model": "A processor"},
        "seeds": {"run": 111},
        "data": {"test": {"count": 12, "classes": ["tile", "wood"], "counts": counts, "sha256": "ab"}},
        "started": "2025-03-09T10:00:00+00:00",
        "finished": "2025-03-09T10:01:30+00:00",
        "seconds": 90.0,
        "peak_memory_bytes": 1_500_000_000,
    }


def old_folder(path: Path) -> RunFolder:
    """As an older version left it: four metrics, no reasons, no curves, no cases."""
    made = RunFolder.create(path)
    made.write_experiment('name = "tiny"\nprofile = "corrected"\n# <script>alert(1)</script>\n')
    made.write_manifest(manifest())
    row = {"pixel_auroc": 0.7, "pixel_ap": 0.4, "image_auroc": None, "image_ap": None}
    found = {"classes": {"tile": row}, "mean": row}
    made.write_metrics({"before": found, "loops": [{"loop": 1, **found}], "quoted": {"loop": 1, "rule": "last"}})
    for count in range(3):
        made.event({"event": "step", "loop": 1, "phase": "vision", "loss": 3.0 - count})
    Image.new("RGB", (30, 10), "red").save(made.heatmaps / "tile_crack.png")
    return made


def new_folder(path: Path, second: str = "wood") -> RunFolder:
    """As a run leaves it now, with a second class of any name."""
    made = RunFolder.create(path)
    made.write_experiment(
        'name = "tiny"\n[evaluation]\ntext_conditioning = "none"\n[data.test]\nuse = "visa"\n# <script>\n'
    )
    made.write_manifest(manifest())
    made.write_metrics(
        {
            "before": result(0.5),
            "loops": [{"loop": 1, **result(0.6)}, {"loop": 2, **result(0.7004, None, second)}],
            "rules": {"darkness": result(0.4), "colour_distance": result(0.45), "patch_distance": result(0.48)},
            "quoted": {"loop": 2, "rule": "last"},
        }
    )
    for loop in (1, 2):
        for count in range(3):
            norms = {"text_adapter": 0.1 * (count + 1), "text_head": 2.0, NASTY: 1.0}
            step = {"event": "step", "loop": loop, "phase": "text", "loss": 3.0 - count, "gradient_norms": norms}
            made.event(step)
        made.event({"event": "validation", "loop": loop, "mean": result(0.5 + loop / 10)["mean"]})
    line = [[0.0, 0.0], [0.1, 0.8], [1.0, 1.0]]
    made.write_curves(
        {"loop": 2, "classes": {"tile": {"roc": line, "pro": line[:2]}, second: {"roc": line, "pro": []}}}
    )
    case_file(second).write(made.examples)
    made.write_attention(attention())
    return made


def case_file(second: str = "wood") -> ExamplesFile:
    """Three cases: two evenly spaced, of which one is the best; one that only the ranking chose."""
    common: dict[str, Any] = {"masked": True, "scores": (0.25, 0.75)}
    random = np.random.default_rng(0)
    masks = np.zeros((3, 32, 32), bool)
    masks[:, 4:12, 4:12] = [[[True]], [[False]], [[True]]]
    return ExamplesFile(
        examples=(
            Example("tile", "1.png", 1, "crack", chosen=("even", "best anomalous"), quality=(0.5, 0.875), **common),
            Example(second, "<b>.png", 0, None, chosen=("even",), quality=(None, None), **common),
            Example(
                second, "3.png", 1, None, chosen=("median anomalous", "worst anomalous"), quality=(0.1, 0.2), **common
            ),
        ),
        loops=(1, 2),
        scale=(-1.0, 3.0),
        rule="on loop 2, by this and that",
        pictures=random.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8),
        masks=masks,
        grids=random.random((3, 2, 4, 4), dtype=np.float32),
    )


def attention() -> dict[str, Any]:
    """One stage that looks at patches, one at words, one that does not say."""
    grids = {
        "normal prompts": {"grid": [[0.5, 1.0], [1.0, 1.5]]},
        "abnormal prompts": {"grid": [[1.0, 1.0], [1.0, 1.0]]},
    }
    states = {"normal prompts": 1.0, "abnormal prompts": 1.0}
    words = {
        "anomalous patches": {"words": {"photo": 0.5, NASTY: 2.0}, "states": states},
        "other patches": {"words": {"photo": 1.5, NASTY: 1.0}, "states": states},
    }
    return {
        "stages": [
            {"stage": "seeing", "block": 0, "tower": "text", "context": "image", "reason": None,
             "cases": [{"case": 2, "looks": grids}, {"case": 0, "looks": grids}]},
            {"stage": "reading", "block": 3, "tower": "vision", "context": "text", "reason": None,
             "cases": [{"case": 0, "looks": words}]},
            {"stage": "silent", "block": 1, "tower": "vision", "context": "text", "reason": "it has no <i>words</i>",
             "cases": []},
        ]
    }  # fmt: skip
