"""`aakit teach` and `aakit calibrate`: from folders of photographs to a model that decides, and what they refuse."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aaclip_kit_plugins.patch_memory.pairs import Nearest
from PIL import Image

from aaclip_kit import load_model
from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.cli.teach import _say_few, checked_rate
from aaclip_kit.evaluation.calibration import Calibration
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.files.lock import locked
from aaclip_kit.files.weights_file import as_safetensors, read_safetensors

from ..command import Command, Ran
from ..once import once
from .conftest import assert_plain, contents


def draw(folder: Path, count: int, seed: int, spot: bool = False) -> Path:
    """Photographs of noise, all in one folder; bad ones have a bright square."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        image = random.integers(60, 120, (40, 40, 3), dtype=np.uint8)
        if spot:
            image[12:24, 10 + index : 24 + index] = 250
        Image.fromarray(image).save(folder / f"{index:03}.png")
    return folder


def saved_anew(folder: Path, out: Path, suffix: str, **options: Any) -> Path:
    """The same pictures in other files."""
    out.mkdir(exist_ok=True)
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            image.save(out / f"{file.stem}{suffix}", **options)
        assert (out / f"{file.stem}{suffix}").read_bytes() != file.read_bytes()
    return out


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders good, more (good ones too) and bad."""

    def make(folder: Path) -> None:
        draw(folder / "good", 8, seed=1)
        draw(folder / "more", 6, seed=2)
        draw(folder / "bad", 3, seed=3, spot=True)

    return once(tmp_path_factory, "photographs", make)


@pytest.fixture
def folders(photographs: Path, tmp_path: Path) -> Path:
    """The same to be changed."""
    return Path(shutil.copytree(photographs, tmp_path / "photographs"))


@pytest.fixture
def taught(aakit: Command, place: Path, folders: Path) -> tuple[Path, Ran]:
    """A model of the good ones, and what was said."""
    ran = aakit(
        "teach", folders / "good", "--bad", folders / "bad", "--out", place / "line.model", "--real-name", "tile"
    )
    assert (ran.code, ran.err) == (0, "")
    return place / "line.model", ran


@pytest.fixture
def refused(aakit: Command, place: Path, folders: Path) -> Callable[..., str]:
    """Teach the good ones: one plain message, and nothing written."""

    def run(*arguments: object) -> str:
        ran = aakit("teach", folders / "good", "--out", place / "line.model", *arguments)
        assert_plain(ran)
        assert contents(place) == {}
        return ran.err

    return run


@pytest.fixture
def _heard() -> Iterator[None]:
    """SIGINT acts as in a terminal: jobs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stored(model: Path) -> Calibration:
    calibration = read_metadata(model).calibration
    assert calibration is not None and calibration.image_threshold is not None
    return calibration


def test_what_to_expect_is_said_and_bad_ones_are_found(taught: tuple[Path, Ran]) -> None:
    said = taught[1].out
    assert "of 100 good parts 0 to 32 will be called bad, from 8 photographs" in said
    assert "10 % cannot be promised from so few: that takes 9" in said
    assert "found       3 of the 3 bad photographs; image AUROC 1.000" in said


def test_the_good_photograph_that_the_threshold_rests_on_is_named(
    taught: tuple[Path, Ran], aakit: Command, place: Path, folders: Path
) -> None:
    scores = stored(taught[0] / "model.safetensors").normal_scores
    (named,) = [line for line in taught[1].out.splitlines() if line.startswith("rests on ")]
    name = named.split()[2].rstrip(":")
    (folders / "rest").mkdir()
    for image in (folders / "good").iterdir():
        if image != Path(name):
            shutil.copy(image, folders / "rest")
    ran = aakit("teach", folders / "rest", "--out", place / "rest.model", "--real-name", "tile")
    assert ran.code == 0 and scores is not None
    own = load_model(place / "rest.model").predict(name).pred_score
    assert own == pytest.approx(max(scores), rel=1e-3)
    loose = aakit("teach", folders / "good", "--out", place / "loose", "--false-alarms", "25%")
    assert loose.code == 0 and "rests on" not in loose.out, "the threshold is below the highest"


def test_where_few_bad_ones_are_found_a_rate_that_finds_more_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    more = {0.05: 3, 0.1: 5, 0.2: 9}
    _say_few(5, 10, more)
    assert capsys.readouterr().out == ""
    for found, told in ((4, "--false-alarms 0.1 finds 5 of 10"), (0, "--false-alarms 0.1 finds 5 of 10")):
        _say_few(found, 10, more)
        assert told in capsys.readouterr().out
    _say_few(1, 10, {0.1: 2, 0.2: 3})
    assert "--false-alarms 0.2 finds 3 of 10" in capsys.readouterr().out
    for none in ({}, {0.1: 1}):
        _say_few(1, 10, none)
        assert "no higher rate of false alarms finds more" in capsys.readouterr().out


def test_one_photograph_is_one(aakit: Command, place: Path, folders: Path) -> None:
    for image in sorted((folders / "bad").iterdir())[1:]:
        image.unlink()
    ran = aakit("teach", folders / "good", "--bad", folders / "bad", "--out", place / "line.model")
    assert f"bad         1 photograph of {folders / 'bad'}\n" in ran.out
    assert "of the 1 bad photograph; image AUROC" in ran.out


def test_the_model_decides_at_once_and_without_the_good_images(
    taught: tuple[Path, Ran], aakit: Command, place: Path, folders: Path
) -> None:
    shutil.rmtree(folders / "good")
    ran = aakit("predict", taught[0], folders / "bad", folders / "more", "--out", place / "found")
    assert (ran.code, ran.err) == (0, "")
    said = (
        "chosen on 8 good photographs (folder good, each by the memory of the others); "
        "of 100 good parts 0 to 32 will be called bad"
    )
    assert "'tile'" in ran.out and said in ran.out
    assert "of 100 good parts 0 to 32 will have a mask" in ran.out
    sheet = (place / "found" / "index.html").read_text()
    assert said in sheet and "0 of 8 good images score as high" in sheet
    lines = [json.loads(line) for line in (place / "found" / "scores.jsonl").read_text().splitlines()]
    assert [line["decision"] for line in lines[:3]] == ["anomalous"] * 3
    calibration = stored(taught[0] / "model.safetensors")
    assert {line["threshold"] for line in lines} == {float(f"{calibration.image_threshold:.4g}")}
    assert all(line["disagreement"] is None for line in lines)  # both thresholds are of the same number


def test_images_that_the_model_remembers_are_told_in_prediction(
    taught: tuple[Path, Ran], aakit: Command, place: Path, folders: Path
) -> None:
    seen, new = (aakit("predict", taught[0], folders / of, "--out", place / of) for of in ("good", "more"))
    assert (seen.code, new.code) == (0, 0)
    assert "note        8 of the images are remembered by the model" in seen.out and "remembered" not in new.out


def test_remembered_images_that_were_saved_anew_are_remembered_too(
    taught: tuple[Path, Ran], aakit: Command, place: Path, folders: Path
) -> None:
    anew = saved_anew(folders / "good", folders / "anew", ".png", compress_level=1)
    ran = aakit("predict", taught[0], anew, "--out", place / "found")
    assert ran.code == 0 and "note        8 of the images are remembered by the model" in ran.out
    before = contents(taught[0])
    ran = aakit("calibrate", taught[0], anew)
    assert_plain(ran)
    assert "made of 8 of these images" in ran.err and contents(taught[0]) == before


@pytest.mark.slow
def test_the_threshold_is_above_each_good_image_as_a_model_of_the_others_scores_it(
    aakit: Command, place: Path, folders: Path
) -> None:
    good, scores = folders / "good", []
    for image in sorted(good.iterdir())[4:]:
        image.unlink()
    for image in sorted(good.iterdir()):
        kept = image.rename(folders / image.name)
        assert aakit("teach", good, "--out", place / image.stem, "--real-name", "tile").code == 0
        scores.append(load_model(place / image.stem).predict(kept).pred_score)
        kept.rename(image)
    assert aakit("teach", good, "--out", place / "all", "--real-name", "tile").code == 0
    assert stored(place / "all" / "model.safetensors").image_threshold == pytest.approx(max(scores), rel=1e-3)


def test_false_alarms_act(taught: tuple[Path, Ran], aakit: Command, place: Path, folders: Path) -> None:
    ran = aakit("teach", folders / "good", "--out", place / "loose", "--real-name", "tile", "--false-alarms", 0.25)
    assert ran.code == 0
    strict, loose = (stored(model / "model.safetensors") for model in (taught[0], place / "loose"))
    assert strict.fpr == pytest.approx(1 / 9) and loose.fpr == pytest.approx(2 / 9)
    for threshold in ("image_threshold", "map_threshold"):
        assert getattr(loose, threshold) < getattr(strict, threshold)
    assert (strict.achieved["image"]["fpr"], loose.achieved["image"]["fpr"]) == (0, 1 / 8)


def test_a_defect_among_the_good_ones_is_named(aakit: Command, place: Path, folders: Path) -> None:
    shutil.copy(folders / "bad" / "000.png", folders / "good" / "odd.png")
    ran = aakit("teach", folders / "good", "--out", place / "line.model")
    assert ran.code == 0
    (suspect,) = (line for line in ran.out.splitlines() if line.startswith("suspect "))
    assert "odd.png" in suspect


def test_copies_are_left_out_and_shapes_are_told(aakit: Command, place: Path, folders: Path) -> None:
    shutil.copy(folders / "good" / "000.png", folders / "good" / "copy.png")
    Image.fromarray(np.random.default_rng(9).integers(60, 120, (20, 80, 3), dtype=np.uint8)).save(
        folders / "good" / "wide.png"
    )
    ran = aakit("teach", folders / "good", "--out", place / "line.model")
    assert ran.code == 0
    assert "1 of 10 images are copies of others" in ran.out and "8 of 40 x 40, 1 of 80 x 20" in ran.out


def test_near_copies_among_good_images_and_between_good_and_bad_are_told(
    aakit: Command, place: Path, folders: Path
) -> None:
    """Each good image would be scored by a memory that holds its like: the threshold is far too low."""
    saved_anew(folders / "good", folders / "bad", ".jpg", quality=95)
    saved_anew(folders / "more", folders / "more", ".jpg", quality=95)
    ran = aakit("teach", folders / "good", "--bad", folders / "bad", "--out", place / "a.model")
    assert ran.code == 0
    (note,) = (line for line in ran.out.splitlines() if "look like copies" in line)
    good, bad = folders / "good", folders / "bad"
    assert f"8 images look like copies of those of {good}" in note and f"{good}/000.png = {bad}/000.jpg" in note
    ran = aakit("teach", folders / "more", "--out", place / "b.model")
    assert ran.code == 0 and "6 images look like copies of others" in ran.out


def test_files_of_many_formats_are_photographs_and_other_files_are_told(
    aakit: Command, place: Path, folders: Path
) -> None:
    mixed, random = folders / "mixed", np.random.default_rng(7)
    mixed.mkdir()
    colour = [Image.fromarray(random.integers(60, 200, (40, 40, 3), dtype=np.uint8)) for _ in range(7)]
    colour[0].save(mixed / "a.jpg")
    colour[1].convert("CMYK").save(mixed / "b.jpeg")
    colour[2].convert("P").save(mixed / "c.gif")
    colour[3].convert("RGBA").save(mixed / "d.webp", lossless=True)
    colour[4].convert("L").save(mixed / "e.bmp")
    colour[5].save(mixed / "f.tif", save_all=True, append_images=colour[6:])
    Image.fromarray(random.integers(20000, 60000, (40, 40), dtype=np.uint16)).save(mixed / "g.png")
    (mixed / "Thumbs.db").touch()
    ran = aakit("teach", mixed, "--out", place / "line.model")
    assert (ran.code, ran.err) == (0, "")
    assert "8 photographs" in ran.out and "passed over: 1 .db" in ran.out and "several shapes" not in ran.out


def test_photographs_in_several_folders_are_told(aakit: Command, place: Path, folders: Path) -> None:
    ran = aakit("teach", folders, "--out", place / "line.model")
    assert ran.code == 0
    assert "they lie in 3 folders (8 in good, 6 in more, 3 in bad), and all are taken as good" in ran.out


def test_a_rate_that_so_few_cannot_show_is_refused(refused: Callable[..., str]) -> None:
    said = refused("--false-alarms", 0.01)
    assert "8 photographs cannot show a rate of 1.00%: the least that they can is 11.11%" in said
    assert "give 99 photographs" in said


@pytest.mark.parametrize("rate", [0, 1, "5", "100%", "5%%", "many", "nan"])
def test_a_share_that_is_none_is_refused(refused: Callable[..., str], rate: int | str) -> None:
    assert "no share of false alarms" in refused("--false-alarms", rate)


def test_a_share_may_be_given_in_percent() -> None:
    assert checked_rate("5%") == checked_rate(" 0.05 ") == checked_rate("5 %") == 0.05 and checked_rate(None) is None


def test_a_typo_in_the_models_name_is_told_what_a_model_is(aakit: Command, place: Path, folders: Path) -> None:
    ran = aakit("predict", place / "line.mode", folders / "bad", "--out", place / "found")
    assert_plain(ran)
    assert "fix: give the folder of aakit teach or of a run, or a checkpoints/loop_N.safetensors" in ran.err


def test_the_command_that_is_named_next_can_be_pasted(aakit: Command, place: Path, folders: Path) -> None:
    ran = aakit("teach", folders / "good", "--out", "my line.model")
    assert "; aakit predict 'my line.model' photos/ --out found\n" in ran.out and (place / "my line.model").is_dir()


def test_a_single_photograph_is_refused(refused: Callable[..., str], folders: Path) -> None:
    for image in sorted((folders / "good").iterdir())[1:]:
        shutil.copy(folders / "good" / "000.png", image)
    assert "holds one photograph" in refused()


def test_images_of_one_colour_are_refused(refused: Callable[..., str], folders: Path) -> None:
    for index, image in enumerate(sorted((folders / "good").iterdir())):
        Image.new("RGB", (40, 40 + index), (90, 90, 90)).save(image)
    assert "all alike" in refused()


@pytest.mark.parametrize(("white", "suffix"), [(255, "png"), (1, "png"), (255, "jpg")])
def test_masks_are_refused(refused: Callable[..., str], folders: Path, white: int, suffix: str) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[8:24, 8:24] = white
    Image.fromarray(mask).save(folders / "good" / f"mask.{suffix}")
    said = refused()
    assert "two tones alone, as masks are" in said and f"mask.{suffix}" in said


def test_a_picture_that_is_good_and_bad_is_refused(refused: Callable[..., str], folders: Path) -> None:
    shutil.copy(folders / "good" / "000.png", folders / "bad" / "same.png")
    assert "same.png" in refused("--bad", folders / "bad")


def test_a_damaged_photograph_is_refused(refused: Callable[..., str], folders: Path) -> None:
    (folders / "good" / "000.png").write_bytes(b"no image")
    assert "000.png" in refused()


def test_what_is_there_is_not_written_over(taught: tuple[Path, Ran], aakit: Command, folders: Path) -> None:
    before = contents(taught[0])
    assert_plain(aakit("teach", folders / "good", "--out", taught[0]))
    assert contents(taught[0]) == before


def test_an_empty_folder_and_a_link_to_nothing_are_there_too(aakit: Command, place: Path, folders: Path) -> None:
    (place / "empty").mkdir()
    (place / "link").symlink_to(place / "nothing")
    for out in ("empty", "link"):
        assert "is there already" in aakit("teach", folders / "good", "--out", place / out).err
    assert sorted(path.name for path in place.iterdir()) == ["empty", "link"] and not [*(place / "empty").iterdir()]


def test_a_place_that_cannot_be_is_told_before_anything_is_read(aakit: Command, folders: Path) -> None:
    ran = aakit("teach", folders / "good", "--out", folders / "good" / "000.png" / "line.model")
    assert_plain(ran)
    assert ran.out == "" and "cannot be written" in ran.err


def test_a_disk_that_is_full_leaves_nothing(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aaclip_kit.inference.teach.write_banks", full)
    assert "No space left on device" in refused()


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_all_as_it_was(
    taught: tuple[Path, Ran],
    aakit: Command,
    place: Path,
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    def asked(own: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def run(*arguments: Any) -> Iterator[Any]:
            for one in own(*arguments):
                signal.raise_signal(number)
                yield one

        return run

    before = contents(place)
    for method in ("head_and_tokens", "scored_batches"):
        monkeypatch.setattr(Evaluator, method, asked(getattr(Evaluator, method)))
    for ran in (
        aakit("teach", folders / "good", "--out", place / "new.model"),
        aakit("calibrate", taught[0], folders / "more"),
    ):
        assert ran.code == 128 + number and "nothing is written" in ran.out
        assert contents(place) == before


@pytest.mark.usefixtures("_heard")
def test_a_signal_ends_it_between_two_photographs_that_are_compared(
    aakit: Command, place: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, own = list[int](), Nearest.of

    def asked(*arguments: Any) -> Nearest:
        compared.append(1)
        signal.raise_signal(signal.SIGTERM)
        return own(*arguments)

    monkeypatch.setattr(Nearest, "of", asked)
    ran = aakit("teach", folders / "good", "--out", place / "new.model")
    assert ran.code == 128 + signal.SIGTERM and "nothing is written" in ran.out
    assert len(compared) == 1


KILLED = """
import os, signal
import aaclip_kit.inference.teach as teach
from aaclip_kit.cli import main
teach.write_banks = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


@pytest.mark.slow
def test_killed_while_it_writes_it_has_made_no_model_and_is_in_no_ones_way(
    aakit: Command, place: Path, folders: Path
) -> None:
    arguments = ["teach", str(folders / "good"), "--out", str(place / "line.model")]
    assert subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False).returncode == -signal.SIGKILL
    assert all(path.name.startswith(".") and path.suffix == ".part" for path in place.iterdir())
    assert aakit(*arguments).code == 0 and (place / "line.model" / "model.safetensors").is_file()


@pytest.mark.parametrize("part", ["missing", "of another width"])
def test_a_bank_that_does_not_fit_is_a_message(
    taught: tuple[Path, Ran], aakit: Command, folders: Path, tmp_path: Path, part: str
) -> None:
    model = Path(shutil.copytree(taught[0], tmp_path / "model"))
    tensors, about = read_safetensors(bank := model / "bank.safetensors")
    patches = tensors.pop("0.patches")
    if part != "missing":
        tensors["0.patches"] = patches[..., 1:].contiguous()
    bank.write_bytes(as_safetensors(tensors, about))
    ran = aakit("predict", model, folders / "more", "--out", tmp_path / "found")
    assert ran.code == 2 and "use the bank of this checkpoint's run" in ran.err
    assert_plain(ran)


def test_calibrate_replaces_the_thresholds_and_their_origin(
    taught: tuple[Path, Ran], aakit: Command, folders: Path
) -> None:
    model = taught[0] / "model.safetensors"
    before, about = stored(model), read_metadata(model).about
    ran = aakit("calibrate", taught[0], folders / "more", "--bad", folders / "bad", "--false-alarms", 0.3)
    assert (ran.code, ran.err) == (0, "")
    assert "found       3 of the 3" in ran.out and "it is replaced" in ran.out
    now = stored(model)
    assert now.source.startswith("folder more, ") and now.counts == {"normal": 6, "anomalous": 3}
    assert now.image_threshold != before.image_threshold and read_metadata(model).about == about


def test_calibrate_refuses_what_the_model_remembers(taught: tuple[Path, Ran], aakit: Command, folders: Path) -> None:
    before = contents(taught[0])
    ran = aakit("calibrate", taught[0], folders / "good")
    assert_plain(ran)
    assert "made of 8 of these images" in ran.err and contents(taught[0]) == before


def test_calibrate_serves_a_run(aakit: Command, trained: Path, tmp_path: Path, folders: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    ran = aakit("calibrate", run, folders / "good", "--real-name", "tile")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads((run / "calibration.json").read_text())
    assert (told["rule"], told["classes"], told["counts"]["normal"]) == ("false_alarms", ["tile"], 8)
    assert told["loop"] == 2
    assert told["image_threshold"] == stored(run / "checkpoints" / "loop_2.safetensors").image_threshold
    ran = aakit("predict", run, folders / "more", "--out", tmp_path / "found", "--real-name", "tile")
    assert (ran.code, ran.err) == (0, "") and "chosen on 8 good photographs" in ran.out


def test_calibrate_leaves_a_run_that_is_at_work_alone(
    aakit: Command, trained: Path, tmp_path: Path, folders: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    loop = run / "checkpoints" / "loop_2.safetensors"
    before = loop.read_bytes()
    with locked(run):
        for named in (run, loop):
            ran = aakit("calibrate", named, folders / "good", "--real-name", "tile")
            assert ran.code == 2 and "another run is at work in this folder" in ran.err
    assert loop.read_bytes() == before


def test_calibrate_of_a_loop_that_the_run_does_not_quote_leaves_the_file_of_the_one_that_it_does(
    aakit: Command, trained: Path, tmp_path: Path, folders: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before, first = (run / "calibration.json").read_bytes(), run / "checkpoints" / "loop_1.safetensors"
    assert aakit("calibrate", first, folders / "good", "--real-name", "tile").code == 0
    assert stored(first).rule == "false_alarms" and (run / "calibration.json").read_bytes() == before
