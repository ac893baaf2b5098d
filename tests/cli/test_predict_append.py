"""`aakit predict --append` and `--watch`: results that grow, after a kill too, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import Prediction, TrainedModel

from ..command import Command, Ran
from .conftest import assert_plain, contents


def photograph(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        photograph(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def appended(aakit: Command, place: Path, trained: Path, photos: Path) -> Callable[..., Ran]:
    def run(*options: object) -> Ran:
        return aakit("predict", trained, photos, "--out", place / "out", "--append", "--map-threshold", -1e9, *options)

    return run


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def names_of(out: Path) -> list[str]:
    return [Path(line["path"]).name for line in lines_of(out)]


def test_a_folder_that_grew_is_gone_on_with(appended: Callable[..., Ran], place: Path, photos: Path) -> None:
    assert appended().code == 0
    before = contents(place / "out")
    photograph(photos / "1a.png", 7)
    photograph(photos.parent / "photos" / "0.jpg", 8)
    ran = appended()
    assert ran.code == 0, ran.err
    assert names_of(place / "out") == ["0.png", "1.png", "2.png", "0.jpg", "1a.png"]
    after = contents(place / "out")
    pictures = [name for name in before if name.startswith("heatmaps/") and name.endswith(".png")]
    assert all(after[name] == before[name] for name in pictures), "what is done is not done again"
    heatmaps = [line["heatmap"] for line in lines_of(place / "out")]
    assert heatmaps[3:] == ["heatmaps/0_2.png", "heatmaps/1a.png"] and len(set(heatmaps)) == 5
    assert (place / "out" / "scores.csv").read_text().count("\n") == 6
    assert "5 images, worst first" in (place / "out" / "index.html").read_text()
    again = appended()
    assert again.code == 0 and contents(place / "out") == after, "nothing is new"


def test_a_photograph_that_was_overwritten_is_scored_anew(
    appended: Callable[..., Ran], place: Path, photos: Path
) -> None:
    assert "append " not in appended().out
    before = {line["path"]: line for line in lines_of(place / "out")}
    photograph(photos / "1.png", 7)
    photograph(photos / "3.png", 8)
    ran = appended()
    assert "append      2 new (1 had a line, and changed since), 2 had a line already\n" in ran.out
    assert names_of(place / "out") == ["0.png", "2.png", "1.png", "3.png"]
    after = {line["path"]: line for line in lines_of(place / "out")}
    assert [path for path in before if after[path] != before[path]] == [str(photos / "1.png")]
    assert after[str(photos / "1.png")]["score"] != before[str(photos / "1.png")]["score"]
    assert len(list((place / "out" / "heatmaps").iterdir())) == 4
    assert "append      0 new, 4 had a line already\n" in appended().out


@pytest.mark.parametrize("older", [False, True], ids=["now", "lines of an older version"])
def test_a_photograph_that_was_overwritten_by_one_of_the_same_size_and_time(
    appended: Callable[..., Ran], place: Path, photos: Path, older: bool
) -> None:
    first, other = photograph(photos / "1.bmp", 7), photograph(photos.parent / "other.bmp", 8)
    for path in (first, other):
        os.utime(path, ns=(10**18, 10**18))
    assert appended().code == 0
    if older:
        stated = [{**line, "file_state": line["file_state"][:2]} for line in lines_of(place / "out")]
        (place / "out" / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stated))
    shutil.copy2(other, first)
    assert ("1 new (1 had a line" in appended().out) is not older


def test_an_overwritten_photograph_has_no_old_answer_after_a_kill_either(
    appended: Callable[..., Ran], place: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert appended().code == 0
    photograph(photos / "1.png", 7)
    with monkeypatch.context() as patch:
        killed_after(0, patch)
        assert appended().code != 0
    assert names_of(place / "out") == ["0.png", "2.png"]
    assert appended().code == 0 and names_of(place / "out") == ["0.png", "2.png", "1.png"]


def test_an_overwritten_file_of_pages_is_scored_anew_as_a_whole(
    appended: Callable[..., Ran], place: Path, photos: Path
) -> None:
    pages = [Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)) for seed in range(3)]
    pages[0].save(photos / "scan.tif", save_all=True, append_images=pages[1:])
    assert appended().code == 0 and len(names_of(place / "out")) == 6
    pages[2].save(photos / "scan.tif", save_all=True, append_images=pages[:1])
    assert appended().code == 0
    assert names_of(place / "out") == ["0.png", "1.png", "2.png", "scan.tif#1", "scan.tif#2"]


def test_lines_of_an_older_version_stay_and_it_is_said_once(
    appended: Callable[..., Ran], place: Path, photos: Path
) -> None:
    assert appended().code == 0
    scores = place / "out" / "scores.jsonl"
    older = [{key: value for key, value in line.items() if key != "file_state"} for line in lines_of(place / "out")]
    scores.write_text("".join(json.dumps(line) + "\n" for line in older))
    photograph(photos / "1.png", 7)
    ran = appended()
    assert ran.out.count("3 lines, of an older version, do not tell whether their images have changed\n") == 1
    assert lines_of(place / "out") == older


def killed_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    own, left = TrainedModel.predictions, [count]

    def ending(*arguments: Any, **options: Any) -> Iterator[Prediction]:
        for prediction in own(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            yield prediction

    monkeypatch.setattr(TrainedModel, "predictions", ending)


def test_after_a_kill_it_goes_on_with_the_blocks_that_were_written(
    appended: Callable[..., Ran],
    place: Path,
    aakit: Command,
    trained: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "block_size", 1)
        killed_after(2, patch)
        assert appended().code != 0
    out = place / "out"
    with (out / ".0.scores.jsonl").open("a") as journal:
        journal.write('{"path": "cut sho')
    (out / "heatmaps" / f".{'0' * 32}.png.part").write_bytes(b"half")
    ran = appended()
    assert ran.code == 0, ran.err
    assert names_of(out) == ["0.png", "1.png", "2.png"]
    assert not [path for path in out.rglob("*") if path.name.startswith(".") or path.name == "run.lock"]
    alone = aakit("predict", trained, photos, "--out", place / "whole", "--map-threshold", -1e9)
    assert alone.code == 0 and lines_of(place / "whole") == lines_of(out)


def test_a_signal_keeps_what_is_scored(
    appended: Callable[..., Ran], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TrainedModel.predictions

    def ended(*arguments: Any, **options: Any) -> Iterator[Prediction]:
        yield from own(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "block_size", 1)
        patch.setattr(TrainedModel, "predictions", ended)
        ran = appended()
    assert ran.code == 128 + signal.SIGTERM and "what is scored is kept, and the same command goes on" in ran.out
    assert names_of(place / "out") == ["0.png"] and (place / "out" / "scores.csv").is_file()
    assert appended().code == 0 and names_of(place / "out") == ["0.png", "1.png", "2.png"]


def test_results_of_another_kind_are_not_gone_on_with(appended: Callable[..., Ran], place: Path, photos: Path) -> None:
    assert appended("--threshold", 0.5).code == 0
    before = contents(place / "out")
    ran = appended("--threshold", 0.75)
    assert_plain(ran)
    assert "its results were made in another way: threshold was 0.5, and is 0.75" in ran.err
    assert contents(place / "out") == before
    shutil.rmtree(place / "out")
    (place / "out").mkdir()
    (place / "out" / "mine.txt").write_text("x")
    ran = appended()
    assert_plain(ran)
    assert "is not empty, and holds no results to go on with" in ran.err


def test_an_image_that_cannot_be_used_ends_it_and_what_is_scored_stays(
    appended: Callable[..., Ran], place: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainedModel, "block_size", 1)
    (photos / "1b.png").write_text("no image")
    ran = appended()
    assert_plain(ran)
    assert names_of(place / "out") == ["0.png", "1.png"]
    for _ in range(2):
        ran = appended("--on-bad-image", "skip")
        assert ran.code == 0 and ", 1 skipped" in ran.out
    assert names_of(place / "out") == ["0.png", "1.png", "2.png"]
    skipped = [json.loads(line)["path"] for line in (place / "out" / "skipped.jsonl").read_text().splitlines()]
    assert skipped == [str(photos / "1b.png")]
    told = f"1: {photos / '1b.png'}, "
    assert told in (place / "out" / "index.html").read_text()
    photograph(photos / "1b.png", 5)
    assert appended().code == 0 and told not in (place / "out" / "index.html").read_text()
    assert (place / "out" / "skipped.jsonl").read_text() == "", "it is scored by now"


@pytest.mark.slow
def test_a_folder_is_watched_until_control_c(place: Path, trained: Path, photos: Path) -> None:
    command = [sys.executable, "-m", "aaclip_kit", "predict", str(trained), str(photos), "--out", "out", "--watch"]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, text=True, preexec_fn=restore_interrupts
    ) as process:
        try:
            assert process.stdout is not None
            out = iter(process.stdout.readline, "")
            assert any(line.startswith("wrote out: ") for line in out)
            photograph(photos / "new.png", 9)
            assert any("new.png" in line for line in out) and any(line.startswith("wrote out: ") for line in out)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert names_of(place / "out") == ["0.png", "1.png", "2.png", "new.png"]


def restore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_what_cannot_be_watched_is_refused(aakit: Command, place: Path, trained: Path, photos: Path) -> None:
    ran = aakit("predict", trained, photos / "0.png", "--out", place / "out", "--watch")
    assert_plain(ran)
    assert "there is no folder to watch" in ran.err
