"""The programs beside an exported model: what they read is what `predict` reads, and what they refuse is said."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import UserError, load_model
from aaclip_kit.data.decode import open_picture

NOISE = np.random.default_rng(0).integers(0, 65536, (20, 30), np.uint16)
COLOURS = np.random.default_rng(1).integers(0, 256, (20, 30, 4), np.uint8)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module that reads pictures, as it lies beside an exported model."""
    path = tmp_path_factory.mktemp("programs") / "read_picture.py"
    path.write_text((files("aaclip_kit.export") / "programs" / "read_picture.py.txt").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("read_picture", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _saved(folder: Path, case: str) -> Path:
    grey16, colours = Image.fromarray(NOISE), Image.fromarray(COLOURS[..., :3])
    upright = Image.Exif()
    upright[0x0112] = 6
    numbers = Image.fromarray(NOISE.astype(np.float32))
    match case:
        case "grey of 16 bits.png" | "grey of 16 bits.tiff" | "grey of 16 bits.ppm":
            grey16.save(folder / case)
        case "colours.tiff" | "colours.webp" | "colours.bmp" | "colours.gif":
            colours.save(folder / case)
        case "turned.jpg":
            colours.save(folder / case, exif=upright)
        case "alpha.png":
            Image.fromarray(COLOURS).save(folder / case)
        case "white is zero.tiff":
            grey16.save(folder / case, tiffinfo={262: 0})
        case "bits.tiff":
            grey16.save(folder / case, tiffinfo={281: 4095})
        case "signed.tiff":
            Image.fromarray(NOISE.astype(np.int32)).save(folder / case)
        case "floating.tiff":
            numbers.save(folder / case)
        case "pages.tiff" | "pages.gif":
            colours.save(folder / case, save_all=True, append_images=[colours.rotate(180)])
        case "small.png":
            colours.resize((3, 3)).save(folder / case)
        case "text.png":
            (folder / case).write_text("no image")
    return folder / case


READ = [
    *(f"grey of 16 bits.{kind}" for kind in ("png", "tiff", "ppm")),
    *(f"colours.{kind}" for kind in ("tiff", "webp", "bmp", "gif")),
    *("turned.jpg", "alpha.png"),
]


@pytest.mark.parametrize("case", READ)
def test_a_picture_is_read_as_predict_reads_it(reader: ModuleType, tmp_path: Path, case: str) -> None:
    path = _saved(tmp_path, case)
    assert np.array_equal(np.asarray(reader.read_picture(path)), np.asarray(open_picture(path)))


@pytest.mark.parametrize("case", ["bits.tiff", "signed.tiff", "floating.tiff", "pages.tiff", "pages.gif", "text.png"])
def test_what_predict_refuses_is_refused(reader: ModuleType, tmp_path: Path, case: str) -> None:
    path = _saved(tmp_path, case)
    for read in (open_picture, reader.read_picture):
        with pytest.raises((UserError, OSError, ValueError)):
            read(path)


@pytest.mark.parametrize("case", ["white is zero.tiff", "small.png"])
def test_what_would_be_read_otherwise_or_shows_nothing_is_refused(
    reader: ModuleType, tmp_path: Path, case: str
) -> None:
    with pytest.raises(ValueError, match=r"save it as PNG|too small"):
        reader.read_picture(_saved(tmp_path, case))


def _run(model: Path, *given: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(model / "run_onnx.py"), *map(str, given)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_bad_pictures_are_named_on_a_line_and_the_others_scored_as_predict_does(
    written: Path, trained: Path, tmp_path: Path
) -> None:
    good, bad = _saved(tmp_path, "grey of 16 bits.png"), _saved(tmp_path, "floating.tiff")
    ran = _run(written, tmp_path / "missing.png", bad, good, "--threshold", "0.5")
    assert ran.returncode == 2
    assert [line.split(": ")[1] for line in ran.stderr.splitlines()] == [str(tmp_path / "missing.png"), str(bad)]
    (line,) = ran.stdout.splitlines()
    wanted = load_model(trained, device="cpu").predict(good).pred_score
    assert float(line.split("\t")[1]) == pytest.approx(wanted, abs=1e-4)


def test_maps_of_pictures_of_one_name_lie_apart(written: Path, tmp_path: Path) -> None:
    paths = [tmp_path / side / "a.gif" for side in ("left", "right")]
    for path in paths:
        path.parent.mkdir()
        _saved(tmp_path, "colours.gif").rename(path)
    ran = _run(written, *paths, "--threshold", "0", "--maps", tmp_path / "maps")
    assert (ran.returncode, ran.stderr) == (0, "")
    found = sorted(path.relative_to(tmp_path / "maps").as_posix() for path in tmp_path.glob("maps/**/*.npy"))
    assert found == ["left/a.gif.npy", "right/a.gif.npy"]


@pytest.mark.parametrize("threshold", ["nan", "inf"])
def test_a_threshold_is_a_finite_number(written: Path, images: Path, threshold: str) -> None:
    ran = _run(written, min(images.rglob("*.png")), "--threshold", threshold)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--threshold" in ran.stderr and "Traceback" not in ran.stderr


def _flip(model: Path) -> None:
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def test_a_model_that_is_damaged_missing_or_cannot_be_loaded_is_said(
    written: Path, images: Path, tmp_path: Path
) -> None:
    picture = min(images.rglob("*.png"))
    there = tmp_path / "there"
    shutil.copytree(written, there)
    _flip(there / "model.onnx")
    damaged = _run(there, picture)
    (there / "model.onnx").write_bytes(b"no model")
    card = json.loads((there / "card.json").read_text(encoding="utf-8"))
    del card["sha256"]["model.onnx"]
    (there / "card.json").write_text(json.dumps(card), encoding="utf-8")
    no_model = _run(there, picture)
    (there / "card.json").unlink()
    no_card = _run(there, picture)
    assert "model.onnx is not the file that card.json tells of" in damaged.stderr
    for ran in (damaged, no_model, no_card):
        assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 1)
        assert ran.stderr.startswith(f"error: the model in {there} cannot be loaded: ")


def test_a_score_that_is_no_number_is_an_error(written: Path, images: Path, tmp_path: Path) -> None:
    """The session is another, which stands in for weights that overflow."""
    there = tmp_path / "there"
    shutil.copytree(written, there)
    program = (there / "run_onnx.py").read_text(encoding="utf-8")
    odd = "session.run = lambda *_: (np.zeros((1, 4, 4)), np.array([np.nan]), np.array([False]))\n"
    (there / "run_onnx.py").write_text(program.replace("threshold = card", f"{odd}threshold = card", 1))
    ran = _run(there, min(images.rglob("*.png")))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no finite number" in ran.stderr
