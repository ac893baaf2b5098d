"""What the service answers is what `aakit predict` writes."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from aaclip_kit import TrainedModel
from aaclip_kit.checkpoints.stored_thresholds import Thresholds
from aaclip_kit.inference.looked_at import LookedAt
from aaclip_kit.inference.score_images import Scoring

from ..command import Command
from ..helpers import assert_close
from .running import Running, asked, files, running


def pixels(uri: str) -> np.ndarray:
    """The picture in a `data:` address."""
    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize("least_area", [1, 30])
def test_answers_are_those_of_predict(
    aakit: Command, trained: Path, model: TrainedModel, thresholds: Thresholds, images: list[Path], tmp_path: Path,
    least_area: int,
) -> None:  # fmt: skip
    out, how = tmp_path / "out", ("--least-area", least_area, "--device", "cpu", "--real-name", "object")
    own = ("--threshold", thresholds.image, "--map-threshold", thresholds.map)
    assert aakit("predict", trained, images[0].parents[1], "--out", out, *how, *own).code == 0
    lines = {line["path"]: line for line in map(json.loads, (out / "scores.jsonl").read_text().splitlines())}
    with running(model, scoring=Scoring(thresholds=thresholds, least_area=least_area)) as served:
        told = served.predict(*files(images), query="?pictures=heatmap&pictures=mask")
    assert told.status == 200 and len(told.body["results"]) == len(images) == len(lines)
    assert {line["decision"] for line in lines.values()} == {"normal", "anomalous"}
    for image, answer in zip(images, told.body["results"], strict=True):
        line = lines[str(image)]
        for kind in ("heatmap", "mask"):
            assert np.abs(pixels(answer[kind]).astype(int) - np.asarray(Image.open(out / line[kind]))).max() <= 1
        same = {
            key: value for key, value in line.items() if key not in ("path", "class", "heatmap", "mask", "file_state")
        }
        assert {key: answer[key] for key in same} == same
        assert (answer["name"], answer["width"], answer["height"]) == (image.name, 40, 40)


def test_base64_is_answered_as_files_are(served: Running, images: list[Path]) -> None:
    given = [{"content": base64.encodebytes(image.read_bytes()).decode()} for image in images[:2]]
    body = json.dumps({"images": [{**given[0], "name": "first"}, given[1]]}).encode()
    told = asked(f"{served.url}predict", body, {"Content-Type": "application/json"})
    sent = served.predict(*files(images[:2])).body["results"]
    assert [one.pop("name") for one in told.body["results"]] == ["first", "image 2"]
    for one in sent:
        del one["name"]
    assert told.body["results"] == sent


def test_each_page_of_a_file_has_an_answer(served: Running, images: list[Path]) -> None:
    pages, out = [Image.open(image).convert("RGB") for image in images[:3]], BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    answers = served.predict(("scan.tif", out.getvalue())).body["results"]
    assert [answer["name"] for answer in answers] == ["scan.tif#1", "scan.tif#2", "scan.tif#3"]
    alone = served.predict(*files(images[:3])).body["results"]
    assert_close([answer["score"] for answer in answers], [answer["score"] for answer in alone], rtol=1e-3)


def test_images_in_tiles_and_what_is_looked_at(model: TrainedModel, thresholds: Thresholds, images: list[Path]) -> None:
    half = np.zeros((40, 40), bool)
    half[:, 20:] = True
    expected = model.predict(images[-1], tiles=2)
    with running(model, scoring=Scoring(thresholds=Thresholds(), tiles=2)) as served:
        (answer,) = served.predict(*files(images[-1:])).body["results"]
    assert_close(answer["score"], expected.pred_score, rtol=1e-3)
    assert answer["decision"] is answer["regions"] is None
    looking = Scoring(thresholds=thresholds, looked_at=LookedAt(half, ("secret/mask.png",)))
    with running(model, scoring=looking) as served:
        told = served.predict(*files(images[-1:]), query="?pictures=mask")
        (answer,) = told.body["results"]
        assert not pixels(answer["mask"])[~half].any()
        Image.new("RGB", (30, 40)).save(other := BytesIO(), "PNG")
        refused = served.predict(("other.png", other.getvalue()))
    assert refused.status == 422 and "30 x 40 pixels" in refused.problems[0]
    assert "secret" not in json.dumps(refused.body)


def test_the_overlay_is_hot_in_the_mask_and_the_photograph_elsewhere(served: Running, images: list[Path]) -> None:
    query = "?pictures=photo&pictures=overlay&pictures=mask"
    answers = served.predict(*files(images), query=query).body["results"]
    answer = min((one for one in answers if one["region_count"]), key=lambda one: pixels(one["mask"]).mean())
    mask = pixels(answer["mask"]) > 0
    far = ~binary_dilation(mask, iterations=4)  # a line is drawn around it
    assert mask.any() and far.any()
    changed = np.abs(pixels(answer["overlay"]).astype(int) - pixels(answer["photo"])).max(axis=2)
    assert changed[mask].mean() > 3 * changed[far].mean()
    assert "heatmap" not in answer


def test_the_model_says_what_it_scores_with(served: Running, model: TrainedModel, thresholds: Thresholds) -> None:
    told = asked(f"{served.url}model").body
    assert (told["threshold"], told["map_threshold"]) == (thresholds.image, thresholds.map)
    assert (told["real_name"], told["sha256"], told["limits"]["images"]) == ("object", model.checksum, 64)


def test_health_and_the_description(served: Running) -> None:
    assert asked(f"{served.url}health").body == {"status": "ok", "waiting": 0}
    openapi = asked(f"{served.url}openapi.json").body
    assert set(openapi["paths"]) == {"/predict", "/model", "/health"}
    body = openapi["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    page = asked(f"{served.url}docs")
    assert page.status == 200 and "POST /predict" in page.body and "//" not in page.body.replace("</", "")
