"""`aakit predict`: scores, pictures and decisions of new images, and everything that it refuses."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import Prediction, TrainedModel
from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.checkpoints.stored_thresholds import objections
from aaclip_kit.evaluation.calibration import Rates, What
from aaclip_kit.inference.draw_predictions import AT_THRESHOLD
from aaclip_kit.record.heatmap import coloured

from ..command import Command, Ran
from .conftest import assert_plain, contents
from .published import imported, write_loop

MADE = {"scores.jsonl", "scores.csv", "index.html", "settings.json", "heatmaps", "masks"}
"""What lies in a folder of results."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of sizes of their own, two of one name in different folders, and files that are none."""
    root = tmp_path / "images"
    random = np.random.default_rng(5)
    for name, size in (("a/1.png", (50, 30)), ("b/1.png", (20, 44)), ("b/1.jpg", (64, 64)), ("2.bmp", (33, 33))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(root / name)
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(b"")
    return root


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


@pytest.fixture
def predicted(aakit: Command, place: Path, trained: Path) -> Callable[..., list[dict[str, Any]]]:
    """Predict into place/out; returns the lines of scores."""

    def run(*arguments: object, out: str = "out") -> list[dict[str, Any]]:
        ran = aakit("predict", trained, *arguments, "--out", place / out)
        assert (ran.code, ran.err) == (0, ""), ran
        return lines_of(place / out)

    return run


def test_every_image_has_a_score_a_heatmap_and_a_mask_of_its_size(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, trained: Path, images: Path
) -> None:
    lines = predicted(images, "--map-threshold", 1.0)
    assert [line["path"] for line in lines] == [
        str(images / name) for name in ("2.bmp", "a/1.png", "b/1.jpg", "b/1.png")
    ]
    calibration = json.loads((trained / "calibration.json").read_text())
    for line in lines:
        assert line["class"] == "object"
        assert line["threshold"] == float(f"{calibration['image_threshold']:.4g}")
        assert line["decision"] == ("anomalous" if line["score"] >= line["threshold"] else "normal")
        with Image.open(line["path"]) as image, Image.open(place / "out" / line["heatmap"]) as heat:
            assert heat.size == image.size and heat.mode == "RGB"
        with Image.open(place / "out" / line["mask"]) as mask:
            assert (mask.size, mask.mode) == (heat.size, "L")
            assert set(np.unique(np.asarray(mask))) <= {0, 255}
            assert np.asarray(mask).max() == (255 if line["largest_map_value"] >= 1.0 else 0)
    names = [line["heatmap"] for line in lines]
    assert names == ["heatmaps/2.png", "heatmaps/a/1.png", "heatmaps/b/1.png", "heatmaps/b/1_2.png"]
    written = {path.relative_to(place / "out").as_posix() for path in (place / "out").rglob("*") if path.is_file()}
    assert written == {*MADE - {"heatmaps", "masks"}, *names, *(line["mask"] for line in lines)}
    assert set(contents(place)) == {"out", *(f"out/{name}" for name in contents(place / "out"))}, "nothing half-written"


def test_a_second_call_leaves_out_what_the_first_wrote_among_the_images_and_says_so(
    aakit: Command, trained: Path, images: Path
) -> None:
    first = aakit("predict", trained, images, "--out", images / "first")
    assert first.code == 0 and "1 .txt (such as " in first.out and "1 hidden (such as " in first.out
    second = aakit("predict", trained, images, "--out", images / "second")
    assert len(lines_of(images / "second")) == len(lines_of(images / "first")) == 4
    assert "8 in results of predict (such as " in second.out


def test_the_folder_to_write_may_lie_among_the_images(
    aakit: Command, trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    ran = aakit("predict", trained, ".", "--out", "found")
    assert ran.code == 0 and "passed over: 1 .txt (such as notes.txt), 1 hidden (such as .hidden.png)\n" in ran.out


def test_paths_of_a_list_start_from_a_root_that_is_given(
    aakit: Command, predicted: Callable[..., list[dict[str, Any]]], place: Path, trained: Path, images: Path
) -> None:
    (place / "list.csv").write_text(f"image_path;class_name\na\\1.png;lid\n{images / '2.bmp'};\n")
    refused = aakit("predict", trained, place / "list.csv", "--out", place / "out")
    assert_plain(refused, messages=2)
    assert "--root" in refused.err
    lines = predicted(place / "list.csv", "--root", images)
    assert [(line["path"], line["class"]) for line in lines] == [
        (str(images / "a/1.png"), "lid"),
        (str(images / "2.bmp"), "object"),
    ]


def test_a_score_does_not_depend_on_the_other_images(
    predicted: Callable[..., list[dict[str, Any]]], images: Path
) -> None:
    among = {line["path"]: line for line in predicted(images, out="all")}
    batches = predicted(images, "--set", "evaluation.batch_size=2", "--set", "workers=1", out="two")
    for number, (path, line) in enumerate(among.items()):
        (alone,) = predicted(path, out=f"alone_{number}")
        for key in ("score", "largest_map_value"):
            assert alone[key] == pytest.approx(line[key], rel=1e-3)  # of four digits
            assert batches[number][key] == pytest.approx(line[key], rel=1e-3)


def test_published_switches_do_not_make_it_depend_on_them(
    aakit: Command, place: Path, trained: Path, images: Path
) -> None:
    """Batch-mean image context and normalisation by the test set, both of which look at other images."""
    switches = {"switches.image_context": "batch_mean", "evaluation.text_conditioning": "image"}
    mixed = [word for key, value in switches.items() for word in ("--set", f"{key}={value}")]
    strong = ["--set", "stages.text_to_image.scale=5.0", "--threshold", 0.5]
    found = {}
    for name, paths in (("all", [images]), ("alone", [images / "a" / "1.png"])):
        ran = aakit("predict", trained, *paths, "--out", place / name, *mixed, *strong)
        assert ran.code == 0, ran.err
        found[name] = {line["path"]: line["score"] for line in lines_of(place / name)}
    for path, score in found["alone"].items():
        assert found["all"][path] == pytest.approx(score, rel=1e-3)
    refused = aakit("predict", trained, images, "--out", place / "x", "--set", "switches.score_normalisation=none")
    assert_plain(refused)
    assert "switches.score_normalisation has no effect" in refused.err
    published = shutil.copytree(trained, place / "published")
    text = (published / "experiment.toml").read_text()
    (published / "experiment.toml").write_text(text.replace('normalisation = "none"', 'normalisation = "test_set"'))
    ran = aakit("predict", published, images, "--out", place / "raw")
    assert "scores      are raw: the published normalisation by the whole test set is left out" in ran.out
    raw = aakit("predict", trained, images, "--out", place / "base")
    assert raw.code == 0 and lines_of(place / "raw") == lines_of(place / "base")


def test_names_reach_the_prompts(predicted: Callable[..., list[dict[str, Any]]], aakit: Command, images: Path) -> None:
    """A class that training knew has its name there; --real-name is the prompts' own words."""
    image = images / "2.bmp"
    calls = {
        "object": [],
        "red cloth": ["--class", "red_cloth"],
        "blue felt": ["--class", "blue_felt"],
        "felt": ["--class", "blue_felt", "--real-name", "felt"],
    }
    scores = {}
    for name, options in calls.items():
        (line,) = predicted(image, *options, out=name.replace(" ", "_"))
        assert line["class"] == (options[1] if options else "object")
        scores[name] = line["score"]
    assert len(set(scores.values())) == len(scores)
    (line,) = predicted(image, "--real-name", "red cloth", out="real")
    assert line["score"] == pytest.approx(scores["red cloth"], rel=1e-3)


def test_the_command_says_what_prompts_call_the_object(
    aakit: Command, place: Path, trained: Path, images: Path
) -> None:
    nameless = aakit("predict", trained, images / "2.bmp", "--out", place / "nameless")
    assert "prompts     call the object 'object'; --class or --real-name names it\n" in nameless.out
    named = aakit("predict", trained, images / "2.bmp", "--out", place / "named", "--class", "blue_felt")
    assert "prompts     call the object 'blue felt'\n" in named.out


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_list_names_images_and_classes(
    predicted: Callable[..., list[dict[str, Any]]], images: Path, suffix: str
) -> None:
    rows = [("b/1.png", "red_cloth"), ("2.bmp", ""), ("a/1.png", "blue_felt"), ("b/1.png", "red_cloth ")]
    rows.append(("b/1.png", "again"))
    lines = [f"{path},{name}" for path, name in rows]
    text = "\n".join(["image_path,class_name", *lines])
    if suffix == ".jsonl":
        text = "\n".join(json.dumps({"image_path": path, "class_name": name, "label": 1}) for path, name in rows)
    file = images / f"list{suffix}"
    file.write_text(text + "\n")
    found = predicted(file)
    assert [(line["path"], line["class"]) for line in found] == [
        (str(images / "b/1.png"), "red_cloth"),
        (str(images / "2.bmp"), "object"),
        (str(images / "a/1.png"), "blue_felt"),
        (str(images / "b/1.png"), "again"),
    ]
    assert len({line["heatmap"] for line in found}) == 4, "an image under two classes is looked at as both"
    (line,) = predicted(images / "b/1.png", "--class", "red_cloth", out="alone")
    assert line["score"] == pytest.approx(found[0]["score"], rel=1e-3)


def test_the_colours_have_one_scale_with_the_threshold_near_its_dark_end(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, images: Path
) -> None:
    dark = coloured(np.full((1, 1), AT_THRESHOLD), (0.0, 1.0))[0, 0].astype(int)
    line = predicted(images / "2.bmp", out="first")[0]
    line = predicted(images / "2.bmp", "--map-threshold", line["largest_map_value"], out="second")[0]
    heat = np.asarray(Image.open(place / "second" / line["heatmap"])).astype(int)
    brightest = heat.sum(axis=-1)
    place_of = np.unravel_index(brightest.argmax(), brightest.shape)
    assert np.abs(heat[place_of] - dark).max() <= 6, "the largest value lies at the threshold"
    higher = predicted(images / "2.bmp", "--map-threshold", line["largest_map_value"] + 1, out="third")[0]
    assert np.asarray(Image.open(place / "third" / higher["heatmap"])).astype(int).sum() < heat.sum()


def test_a_threshold_of_ones_own(predicted: Callable[..., list[dict[str, Any]]], images: Path) -> None:
    scores = sorted(line["score"] for line in predicted(images, out="first"))
    threshold = float(f"{(scores[0] + scores[1]) / 2:.4g}")
    lines = predicted(images, "--threshold", threshold, out="second")
    assert {line["threshold"] for line in lines} == {threshold}
    assert sorted(line["decision"] for line in lines) == ["anomalous"] * 3 + ["normal"]


def test_without_a_threshold_it_must_be_said(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, images: Path, small_experiment: Path
) -> None:
    imported(importing(write_loop(tmp_path), experiment=small_experiment), place / "out.safetensors")
    start = ["predict", place / "out.safetensors", images, "--experiment", small_experiment]
    ran = aakit(*start, "--out", place / "p")
    assert_plain(ran)
    assert "out.safetensors: holds no threshold for these scores (it was never calibrated)" in ran.err
    assert set(contents(place)) == {"out.safetensors"}
    assert aakit(*start, "--out", place / "p", "--uncalibrated").code == 0
    for line in lines_of(place / "p"):
        assert (line["threshold"], line["decision"], line["map_threshold"]) == (None, None, None)
        assert "mask" not in line and (place / "p" / line["heatmap"]).is_file()
    assert aakit(*start, "--out", place / "q", "--threshold", 0.5).code == 0
    assert all(line["decision"] for line in lines_of(place / "q"))


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("evaluation.image_score=map", "is map, and was mean"),
        ("backbone.image_size=64", "is 64, and was unset"),
        ("backbone.activation=quick_gelu", "is quick_gelu, and was auto"),
        ("stages.image_to_text.scale=0.5", "is 0.5, and was 0.1"),
        ("model.text_context=raw", "is raw, and was unit"),
        ("switches.text_context_padding=attended", "is attended, and was masked"),
    ],
)
def test_thresholds_are_for_the_scores_that_they_were_chosen_on(
    aakit: Command, place: Path, trained: Path, images: Path, override: str, change: str
) -> None:
    ran = aakit("predict", trained, images, "--out", place / "p", "--set", override)
    assert_plain(ran)
    key = override.partition("=")[0]
    assert f"no threshold for these scores (not chosen for scores made in this way: {key} {change})" in ran.err
    assert "give --threshold, or --uncalibrated" in ran.err


def test_images_of_another_domain_have_no_stored_threshold(
    predicted: Callable[..., list[dict[str, Any]]], aakit: Command, place: Path, trained: Path, images: Path
) -> None:
    own = predicted(images, out="own")
    ran = aakit("predict", trained, images, "--domain", "medical", "--out", place / "out")
    assert_plain(ran)
    assert "chosen for industrial images, whose maps are blurred in another way" in ran.err
    ran = aakit("predict", trained, images, "--domain", "medical", "--threshold", 0.5, "--out", place / "out")
    assert "map: none (chosen for industrial images" in ran.out
    for line, industrial in zip(lines_of(place / "out"), own, strict=True):
        assert line["largest_map_value"] != industrial["largest_map_value"]
        assert (line["threshold"], line["map_threshold"]) == (0.5, None)
    assert predicted(images, "--domain", "industrial", out="again") == own


@pytest.mark.parametrize("option", ["--threshold", "--map-threshold"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_threshold_is_a_finite_number(
    aakit: Command, place: Path, trained: Path, images: Path, option: str, value: str
) -> None:
    ran = aakit("predict", trained, images, "--out", place / "out", option, value)
    assert_plain(ran)
    assert f"{option}: {value} is no threshold" in ran.err
    assert contents(place) == {}


def _bad(images: Path) -> None:
    whole = (images / "a" / "1.png").read_bytes()
    (images / "a" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (images / "a" / "text.png").write_text("no image")
    Image.new("RGB", (1, 1)).save(images / "dot.png")


def test_bad_images_stop_it_or_are_skipped_and_counted(
    aakit: Command, place: Path, trained: Path, images: Path
) -> None:
    _bad(images)
    start = ["predict", trained, images, "--out", place / "out"]
    ran = aakit(*start)
    assert_plain(ran, messages=3)
    for name in ("truncated.png: cannot be read", "text.png: cannot be read", "dot.png: is 1 x 1 pixels"):
        assert name in ran.err
    assert contents(place) == {}
    ran = aakit(*start, "--on-bad-image", "skip")
    assert (ran.code, ran.err) == (0, "")
    assert len(lines_of(place / "out")) == 4
    skipped = [json.loads(line) for line in (place / "out" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(Path(line["path"]).name for line in skipped) == ["dot.png", "text.png", "truncated.png"]
    assert ran.out.count("skipped     ") == 3 and ", 3 skipped" in ran.out


def _texts(images: Path) -> list[object]:
    folder = images.parent / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    return [folder]


def _nothing(images: Path) -> list[object]:
    (images.parent / "empty").mkdir()
    return [images.parent / "empty"]


def _listed(name: str, text: str | bytes) -> Callable[[Path], list[object]]:
    def write(images: Path) -> list[object]:
        (images / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return [images / name]

    return write


def _all_bad(images: Path) -> list[object]:
    _bad(images)
    return [images / "dot.png", "--on-bad-image", "skip"]


REFUSED: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "no such path": (lambda images: [images / "none.png"], "none.png: there is no such file or folder"),
    "a folder of texts": (_texts, "texts: there is no image in this folder"),
    "an empty folder": (_nothing, "empty: there is no image in this folder"),
    "a text": (lambda images: [images / "notes.txt"], "notes.txt: cannot be read as an image"),
    "an empty list": (_listed("l.jsonl", "\n"), "l.jsonl: names no image"),
    "a list without paths": (
        _listed("l.csv", "image,label\n2.bmp,1\n"),
        "l.csv, line 1: the first line does not name the column image_path",
    ),
    "no JSON": (_listed("l.jsonl", "{\n"), "l.jsonl, line 1: is no JSON"),
    "a missing image": (
        _listed("l.jsonl", '{"image_path": "x.png"}'),
        'l.jsonl, line 1: "image_path": there is no file',
    ),
    "no text": (_listed("l.csv", b"\xff\xfe\x00"), "l.csv: is no text in UTF-8"),
    "nothing left": (_all_bad, "dot.png: is 1 x 1 pixels"),
    "a name without words": (lambda images: [images, "--real-name", "?!"], "which no prompt can use"),
    "a class that cannot be shown": (lambda images: [images, "--class", "a\u202eb"], "--class: holds what cannot be"),
    "a name of two lines": (lambda images: [images, "--real-name", "a\nb"], "--real-name: holds what cannot be shown"),
    "a name without end": (lambda images: [images, "--real-name", "word " * 100], "real_names.object"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_scored_is_one_message(
    aakit: Command, place: Path, trained: Path, images: Path, arguments: Callable[[Path], list[object]], message: str
) -> None:
    ran = aakit("predict", trained, *arguments(images), "--out", place / "out")
    assert_plain(ran)
    assert message in ran.err
    assert contents(place) == {}


def test_a_folder_that_is_not_empty_or_cannot_be_written_is_refused(
    aakit: Command, place: Path, trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "full").mkdir()
    (place / "full" / "mine.txt").write_text("x")
    before = contents(place)
    for out in (place / "full", place / "full" / "mine.txt"):
        ran = aakit("predict", trained, images, "--out", out)
        assert_plain(ran)
        assert "is not an empty folder" in ran.err
    ran = aakit("predict", trained, images, "--out", place / "full" / "mine.txt" / "out")
    assert_plain(ran)
    assert "cannot be written" in ran.err
    assert contents(place) == before
    for name in ("taken.part", "taken.part.gone"):
        (place / name).mkdir()
        (place / name / "mine.txt").write_text("x")
    assert aakit("predict", trained, images, "--out", place / "taken").code == 0
    assert {path.name for path in place.iterdir()} == {"full", "taken", "taken.part", "taken.part.gone"}
    assert (place / "taken.part.gone" / "mine.txt").read_text() == "x"
    (place / "empty").mkdir()
    monkeypatch.chdir(place / "empty")
    assert aakit("predict", trained, images, "--out", ".").code == 0
    assert {path.name for path in Path().iterdir()} == MADE


def test_what_is_no_model_is_refused(aakit: Command, place: Path, images: Path) -> None:
    messages = {images: "holds no finished run and no checkpoint", images / "2.bmp": "it is no file of weights"}
    for path, message in messages.items():
        ran = aakit("predict", path, images, "--out", place / "out")
        assert_plain(ran)
        assert message in ran.err
    assert contents(place) == {}


def test_uncalibrated_passes_a_stored_threshold_over(
    predicted: Callable[..., list[dict[str, Any]]], images: Path
) -> None:
    (line,) = predicted(images / "2.bmp", "--uncalibrated", out="none")
    assert (line["threshold"], line["decision"], line["map_threshold"]) == (None, None, None)
    (line,) = predicted(images / "2.bmp", "--uncalibrated", "--threshold", 0.5, out="own")
    assert line["threshold"] == 0.5 and line["decision"] and line["map_threshold"] is None


def test_names_of_pictures_that_would_be_in_one_anothers_way(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, images: Path
) -> None:
    """A picture where a folder is wanted, and two names of the greatest length that end differently."""
    deep = images / "deep"
    (deep / "a.png").mkdir(parents=True)
    long = "x" * 251
    for name in ("a.jpg", "a.png/b.jpg", f"{long}.png", f"{long}.jpg"):
        shutil.copy(images / "2.bmp", deep / name)
    lines = predicted(deep)
    pictures = [line[kind] for line in lines for kind in ("heatmap", "mask")]
    assert len(set(pictures)) == 8 and all((place / "out" / name).is_file() for name in pictures)
    assert {line["heatmap"] for line in lines} >= {"heatmaps/a_2.png", "heatmaps/a.png/b.png"}


def test_each_path_has_a_line_under_its_own_name_also_where_two_are_links_to_one_file(
    predicted: Callable[..., list[dict[str, Any]]], images: Path
) -> None:
    """As in a store by content."""
    (images.parent / "store").mkdir()
    store, photos = images.parent / "store" / "3fa9c1d2.png", images.parent / "photos"
    photos.mkdir()
    shutil.copy(images / "a" / "1.png", store)
    for name in ("first.png", "second.png"):
        (photos / name).symlink_to(store)
    lines = predicted(photos, photos / "first.png")
    assert [line["path"] for line in lines] == [str(photos / "first.png"), str(photos / "second.png")]
    assert [line["mask"] for line in lines] == ["masks/first.png", "masks/second.png"]


def test_a_link_to_an_empty_folder_is_filled_where_it_leads(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, images: Path
) -> None:
    for name in ("there", "nowhere"):
        (place / f"link_{name}").symlink_to(place / name)
    (place / "there").mkdir()
    for name in ("there", "nowhere"):
        predicted(images / "2.bmp", out=f"link_{name}")
        assert (place / f"link_{name}").is_symlink() and (place / name / "scores.jsonl").is_file()


def test_a_folder_that_cannot_be_renamed_is_filled(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a disk is mounted."""
    (mounted := place / "mounted").mkdir()

    def busy(path: Path, target: Path, own: Any) -> Any:
        if mounted in (path, target):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return own(path, target)

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, partialmethod(busy, own=getattr(Path, name)))
    assert len(predicted(images, out="mounted")) == 4
    assert {path.name for path in mounted.iterdir()} == MADE


def test_of_two_commands_with_one_new_folder_the_second_is_refused_and_nothing_is_mixed(
    aakit: Command, place: Path, trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, refused = TrainedModel.predictions, list[Ran]()

    def during(*arguments: Any, **options: Any) -> Iterator[Prediction]:
        for prediction in own(*arguments, **options):
            if not refused:
                before = contents(place)
                refused.append(aakit("predict", trained, images / "2.bmp", "--out", place / "out"))
                assert contents(place) == before
            yield prediction

    monkeypatch.setattr(TrainedModel, "predictions", during)
    assert aakit("predict", trained, images / "a", "--out", place / "out").code == 0
    assert_plain(refused[0])
    assert "out: another run is at work in this folder" in refused[0].err
    assert [line["path"] for line in lines_of(place / "out")] == [str(images / "a" / "1.png")]
    assert {path.name for path in (place / "out").iterdir()} == MADE


def test_what_a_command_that_was_killed_has_left_is_in_nobodys_way(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, images: Path
) -> None:
    left = place / "out" / f".{'0' * 32}.part"
    (left / "heatmaps").mkdir(parents=True)
    (left / "heatmaps" / "1.png").touch()
    (place / "out" / "run.lock").touch()
    assert len(predicted(images)) == 4
    assert {path.name for path in (place / "out").iterdir()} == MADE


def test_a_signal_to_end_leaves_nothing_that_is_in_the_way_of_the_next_call(
    aakit: Command, place: Path, trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TrainedModel.predictions

    def ended(*arguments: Any, **options: Any) -> Iterator[Prediction]:
        for prediction in own(*arguments, **options):
            yield prediction
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "predictions", ended)
        assert aakit("predict", trained, images, "--out", place / "out").code == 128 + signal.SIGTERM
    assert contents(place) == {} and signal.getsignal(signal.SIGTERM) == before
    assert aakit("predict", trained, images, "--out", place / "out").code == 0


TWICE = """
import signal, sys
from aaclip_kit import TrainedModel
from aaclip_kit.cli import main
own = TrainedModel.predictions

def ended(*arguments, **options):
    for prediction in own(*arguments, **options):
        print("scored", flush=True)
        sys.stdin.readline()
        yield prediction

TrainedModel.predictions = ended
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs in the background
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once_and_leaves_no_file_that_could_be_taken_for_a_result(
    predicted: Callable[..., list[dict[str, Any]]], place: Path, trained: Path, images: Path, first: signal.Signals
) -> None:
    command = [sys.executable, "-c", TWICE, "predict", str(trained), str(images), "--out", "out"]
    with subprocess.Popen(command, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and any(line == "scored\n" for line in process.stdout)
            process.send_signal(first)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == -signal.SIGTERM
        finally:
            process.kill()
    assert all(path.name == "run.lock" or path.name.endswith(".part") for path in (place / "out").iterdir())
    assert len(predicted(images)) == 4


def test_the_command_says_where_thresholds_are_from_and_that_they_are_of_other_objects(
    aakit: Command, place: Path, trained: Path, images: Path
) -> None:
    calibration = json.loads((trained / "calibration.json").read_text())
    assert calibration["classes"] == ["red_cloth"]
    nameless = aakit("predict", trained, images / "2.bmp", "--out", place / "nameless")
    first, *lines = nameless.out.splitlines()
    assert first == (
        "warning     the thresholds were chosen on other objects (red_cloth), not on object: "
        "their false alarms here are not known"
    )
    for what in ("image", "map"):
        rate = calibration["achieved"][what]["fpr"]
        (line,) = [line for line in lines if line.startswith(f"threshold   {what}: ")]
        chosen = "chosen by rule f1max on 2 normal and 2 anomalous images of data.train, kept out of training"
        assert f"{calibration[f'{what}_threshold']:.6g}, {chosen}; false alarms there {rate:.1%}" in line
    for words in (["--class", "red_cloth"], ["--real-name", "red cloth"]):
        own = aakit("predict", trained, images / "2.bmp", "--out", place / words[0], *words)
        assert own.code == 0 and "other objects" not in own.out
    given = ["--threshold", 0.5, "--map-threshold", 1.0]
    ran = aakit("predict", trained, images / "2.bmp", "--out", place / "given", *given)
    assert "other objects" not in ran.out and "threshold   image: 0.5, given\n" in ran.out


def test_what_speaks_against_stored_thresholds(trained: Path) -> None:
    metadata = read_metadata(trained / "checkpoints" / "loop_2.safetensors")
    assert metadata.calibration is not None
    rates: dict[What, Rates] = {"image": {"fpr": 0.7, "f1": 0.5}, "map": {"fpr": 0.1, "f1": 0.5}}
    absurd = replace(metadata, calibration=replace(metadata.calibration, achieved=rates))
    (line,) = objections(absurd, {"red_cloth": "red cloth"}, ["image", "map"])
    assert line.startswith(
        "the image threshold calls 70.0% of the normal images anomalous that it was chosen on (data.train,"
    )
    assert objections(absurd, {"red_cloth": "red cloth"}, ["map"]) == []
    older = replace(metadata, calibration=replace(metadata.calibration, classes=None, achieved=rates))
    (line,) = objections(older, {"red_cloth": "red cloth"}, ["map"])
    assert line == "the thresholds were chosen on objects that the checkpoint does not name"


def test_a_decision_and_a_mask_that_say_different_things_are_told_of(
    aakit: Command, place: Path, trained: Path, images: Path
) -> None:
    for name, given, decision in (("a", (2.0, -1e9), "normal"), ("b", (-2.0, 1e9), "anomalous")):
        ran = aakit(
            "predict", trained, images, "--out", place / name, *("--threshold", given[0]), "--map-threshold", given[1]
        )
        mask = "a mask that is not empty" if decision == "normal" else "an empty mask"
        assert (
            f"disagree    4 images are decided {decision} and have {mask}; scores.jsonl says which, and why\n"
            in ran.out
        )
        assert all(line["disagreement"].startswith(f"decided {decision}, and") for line in lines_of(place / name))
    one = aakit(
        "predict", trained, images / "2.bmp", "--out", place / "one", "--threshold", 2.0, "--map-threshold", -1e9
    )
    assert "disagree    1 image is decided normal and has a mask that is not empty; " in one.out
    agreeing = aakit("predict", trained, images, "--out", place / "c", "--threshold", -2.0, "--map-threshold", -1e9)
    assert "disagree" not in agreeing.out
    assert all(line["disagreement"] is None for line in lines_of(place / "c"))
