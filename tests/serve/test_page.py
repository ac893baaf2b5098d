"""The page to drop photographs on, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaclip_kit import TrainedModel
from aaclip_kit.checkpoints.stored_thresholds import Thresholds
from aaclip_kit.inference.score_images import Scoring

from .browser import BROWSER, opened
from .running import Running, asked, files, running

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, which is not installed")

LOOK = """new Promise(async (done, failed) => {
  const begun = performance.now(), all = selector => [...document.querySelectorAll(selector)];
  while (all("article").length < COUNT || !all("article img").every(one => one.complete)) {
    if (performance.now() - begun > 60000) failed("nothing came");
    await new Promise(next => setTimeout(next, 50));
  }
  done({
    cards: all("article").map(card => ({
      name: card.querySelector("h2").textContent, decision: card.className, text: card.querySelector("p").textContent,
      source: card.querySelector("img")?.src, alt: card.querySelector("img")?.alt,
      seen: card.querySelector("img")?.naturalWidth,
    })),
    counts: document.getElementById("counts").textContent, model: document.getElementById("model").textContent,
    page: document.documentElement.scrollWidth, width: innerWidth,
  });
})"""


def look(tab: Any, count: int) -> Any:
    """What the page shows, once it has that many cards."""
    return tab.value(LOOK.replace("COUNT", str(count)))


@pytest.mark.parametrize("width", [1280, 390])
def test_photographs_that_are_dropped_are_shown_worst_first_with_their_overlays(
    served: Running, images: list[Path], thresholds: Thresholds, tmp_path: Path, width: int
) -> None:
    query = "?pictures=photo&pictures=overlay"
    expected = served.predict(*files(images[2:6]), query=query).body["results"]
    worst = sorted(expected, key=lambda one: -one["score"])
    bad = tmp_path / "bad<b>.png"
    bad.write_bytes(b"no image")
    with opened(served.url, tmp_path / "browser", width) as tab:
        look(tab, 0)
        tab.drop(*images[2:6])
        seen = look(tab, 4)
        assert sorted(card["name"] for card in seen["cards"]) == sorted(one["name"] for one in worst)
        scores = [float(card["text"].partition("score ")[2].partition(";")[0]) for card in seen["cards"]]
        assert scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(scores, [one["score"] for one in worst], rtol=1e-3)
        assert sorted(card["decision"] for card in seen["cards"]) == sorted(one["decision"] for one in worst)
        assert all(card["seen"] == 40 and card["alt"].startswith("Overlay") for card in seen["cards"])
        assert {card["source"] for card in seen["cards"]} <= {one["overlay"] for one in expected}
        assert "object" in seen["model"]
        assert seen["page"] <= seen["width"] == width
        slid = (
            'const at = document.getElementById("threshold"); at.value = at.VALUE; at.dispatchEvent(new Event("input"))'
        )
        tab.value(f"{{ {slid.replace('VALUE', 'max')} }}")
        assert look(tab, 4)["counts"] == "0 anomalous, 4 normal."
        tab.value(f"{{ {slid.replace('VALUE', 'min')} }}")
        assert look(tab, 4)["counts"] == "4 anomalous, 0 normal."
        tab.value('document.querySelector("article button").click()')
        (photo,) = [one["photo"] for one in expected if one["name"] == seen["cards"][0]["name"]]
        assert look(tab, 4)["cards"][0]["source"] == photo
        assert not tab.complaints
        tab.drop(bad)
        (first, *_) = look(tab, 5)["cards"]
        assert first["name"] == "bad<b>.png" and "is no image in PNG" in first["text"]
        assert first["text"].startswith("Cannot be read") and ". Save it in one of these" in first["text"]
        assert tab.value('document.getElementById("state").textContent') == "4 scored, 1 not."
        asked_for = [url for url in tab.requested if not url.startswith(("data:", "about:"))]
        assert len(asked_for) >= 6 and all(url.startswith(served.url) for url in asked_for)


def test_the_page_asks_for_the_token(
    model: TrainedModel, thresholds: Thresholds, images: list[Path], tmp_path: Path
) -> None:
    with (
        running(model, scoring=Scoring(thresholds=thresholds), token="sesame") as served,
        opened(served.url, tmp_path / "browser", 390) as tab,
    ):
        look(tab, 0)
        tab.drop(images[0])
        enter = 'document.getElementById("token").value = "sesame"; document.querySelector("form button").click()'
        shown = "new Promise(done => { const see = () => access.hidden ? setTimeout(see, 20) : done(1); see(); })"
        tab.value(shown.replace("access", 'document.getElementById("access")'))
        tab.value(f"{{ {enter} }}")
        (card,) = look(tab, 1)["cards"]
        assert card["name"] == images[0].name and card["decision"] in ("normal", "anomalous")


def test_the_pages_name_no_other_host(served: Running) -> None:
    told = asked(served.url)
    assert "://" not in told.body
    assert "default-src 'none'" in told.headers["content-security-policy"]
