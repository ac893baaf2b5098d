"""`aakit export` from end to end: the file agrees with `predict`, its program runs without this package, refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from aaclip_kit import AttentionStage, Context, UserError, load_model
from aaclip_kit.contracts.data import DataSet
from aaclip_kit.export.scoring_graph import exported
from aaclip_kit.inference.load_model import TrainedModel

from ..command import Command

ort: Any = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="session")
def card(written: Path) -> dict[str, Any]:
    """Its card."""
    return json.loads((written / "card.json").read_text(encoding="utf-8"))


def test_the_file_says_what_predict_says_of_pictures_of_any_size_alone_and_together(
    written: Path, trained: Path, images: Path
) -> None:
    session = ort.InferenceSession(str(written / "model.onnx"))
    paths = sorted(images.rglob("*.png"))
    pictures = np.stack([np.asarray(Image.open(path)) for path in paths])
    pictures = np.stack(
        [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in pictures]
    )
    wide = np.asarray(Image.open(paths[0]).resize((77, 31)))[None]
    model = load_model(trained, device="cpu")
    for given in (pictures, pictures[:1], wide):
        wanted = [model.predict(one) for one in given]
        inputs = {"picture": given, "threshold": np.array(wanted[0].pred_score, np.float32)}
        maps, scores, decisions = session.run(["map", "score", "decision"], inputs)
        np.testing.assert_allclose(scores, [one.pred_score for one in wanted], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(maps.max(axis=(1, 2)), [one.max_value for one in wanted], rtol=1e-4, atol=1e-5)
        assert (decisions == (scores >= inputs["threshold"])).all()


def test_the_card_tells_what_the_file_is(written: Path, card: dict[str, Any], trained: Path) -> None:
    assert card["sha256"]["model.onnx"] == hashlib.sha256((written / "model.onnx").read_bytes()).hexdigest()
    assert card["sha256"]["checkpoint"] == load_model(trained, device="cpu").checksum
    assert card["agreement_with_pytorch"]["images"] == 8
    assert card["agreement_with_pytorch"]["decisions_that_flip"] == 0
    assert card["threshold"]["value"] is not None
    assert "chosen by rule" in card["threshold"]["origin"]
    assert set(card["versions"]) == {"aaclip_kit", "torch", "onnx", "onnxruntime"}
    assert sorted(path.name for path in written.iterdir()) == [
        *("Program.cs", "card.json", "model.onnx", "read_picture.py", "run_onnx.py")
    ]


def test_the_program_runs_without_torch_and_without_this_package(written: Path, images: Path, tmp_path: Path) -> None:
    paths = sorted(map(str, images.rglob("*.png")))[:2]
    hidden = "import sys; sys.modules.update(torch=None, aaclip_kit=None)\n"
    alone = tmp_path / "run.py"
    shutil.copytree(written, tmp_path / "there")
    program = (tmp_path / "there" / "run_onnx.py").read_text(encoding="utf-8")
    alone = tmp_path / "there" / "run_hidden.py"
    alone.write_text(hidden + program, encoding="utf-8")
    given = [sys.executable, str(alone), *paths, "--threshold", "-1000", "--maps", str(tmp_path / "maps")]
    ran = subprocess.run(given, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("\t") for line in ran.stdout.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [(path, "anomalous") for path in paths]
    assert np.load(tmp_path / "maps" / f"{Path(paths[0]).name}.npy").shape == (32, 32)
    assert len(program.splitlines()) <= 52


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "precision", "file"),
    [
        ("torch", "fp32", "model.pt2"),
        ("torch", "fp16", "model.pt2"),
        ("onnx", "fp16", "model.onnx"),
        ("onnx", "int8", "model.onnx"),
        ("openvino", "fp32", "model.xml"),
        ("openvino", "fp16", "model.xml"),
    ],
)
def test_every_kind_of_file_agrees_and_has_a_program_that_runs_it(
    aakit: Command, trained: Path, images: Path, tmp_path: Path, to: str, precision: str, file: str
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    out = tmp_path / "out"
    ran = aakit("export", trained, "--to", to, "--precision", precision, "--out", out, "--images", images)
    assert (ran.code, ran.err) == (0, "")
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    largest = {"fp32": 1e-4, "fp16": 0.02, "int8": 1.0}[precision]
    assert card["agreement_with_pytorch"]["largest_score_difference"] < largest
    assert card["precision"]["name"] == precision and file in card["sha256"]
    picture = min(images.rglob("*.png"))
    given = [sys.executable, str(out / f"run_{to}.py"), str(picture), "--threshold", "-1000"]
    program = subprocess.run(given, capture_output=True, text=True, check=False)
    assert program.returncode == 0, program.stderr
    name, score, decision = program.stdout.split("\t")
    wanted = load_model(trained, device="cpu").predict(picture, "object").pred_score
    assert float(score) == pytest.approx(wanted, abs=largest) and (name, decision) == (str(picture), "anomalous\n")


class _Counting(AttentionStage):
    """Goes by `len`, as a stranger's stage may."""

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens + 0.01 * tokens.reshape(len(tokens), -1).mean(dim=1)[:, None, None]


class _Looking(AttentionStage):
    """Decides by the numbers that come."""

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens * 2 if float(tokens.max()) > 1 else tokens


def _data(model: TrainedModel) -> DataSet:
    return DataSet((), {"object": "object"}, model.domain())


@pytest.mark.slow
def test_a_stage_of_a_stranger_goes_through(trained: Path) -> None:
    model = load_model(trained, device="cpu")
    with model.model.slots.standing_in("vision", {("vision_adapter", 0): _Counting()}):
        run = exported(model, _data(model)).module()
        pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
        with torch.no_grad():
            scores = run(torch.from_numpy(pictures), torch.tensor(0.0))[1]
        wanted = [model.predict(one).pred_score for one in pictures]
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)


def test_a_stage_that_cannot_be_exported_is_named(trained: Path) -> None:
    model = load_model(trained, device="cpu")
    with (
        model.model.slots.standing_in("vision", {("vision_adapter", 0): _Looking()}),
        pytest.raises(UserError, match="cannot be exported") as raised,
    ):
        exported(model, _data(model))
    assert "stages.vision_adapter after block 0" in str(raised.value)
    assert "_Looking" in str(raised.value)


def test_what_is_refused_leaves_nothing_behind(aakit: Command, trained: Path, images: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((trained / "checkpoints" / "loop_2.safetensors").read_bytes()[:900])
    out = tmp_path / "out"
    cases = {
        "not empty": (trained, "--to", "onnx", "--out", full),
        "calibrated on photographs": (trained, "--to", "onnx", "--out", out, "--precision", "int8"),
        "there is no int8": (trained, "--to", "torch", "--out", out, "--precision", "int8", "--images", images),
        "damaged": (damaged, "--to", "onnx", "--out", out),
        "no threshold": (trained, "--to", "onnx", "--out", out, "--threshold", "nan"),
    }
    for said, given in cases.items():
        ran = aakit("export", *map(str, given))
        assert ran.code == 2, said
        assert said in ran.err
        assert "Traceback" not in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.safetensors", "full"]
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_a_package_that_is_not_there_is_one_plain_error(
    aakit: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    ran = aakit("export", str(trained), "--to", "onnx", "--out", str(tmp_path / "out"))
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert "needs the package onnxscript" in ran.err
    assert "aaclip-kit[export]" in ran.err


def test_pictures_that_the_model_remembers_are_told_before_it_is_exported(
    aakit: Command, trained: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise UserError("ends here")

    known = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(images.rglob("*.png"))[:3]]
    monkeypatch.setattr("aaclip_kit.export.write.exported", ended)
    command = ("export", trained, "--to", "onnx", "--out", tmp_path / "out", "--images", images)
    assert "remembered" not in aakit(*command).out
    monkeypatch.setattr(TrainedModel, "remembered", frozenset(known))
    ran = aakit(*command)
    assert "3 of 8 pictures are remembered by the model" in ran.out and "bad ones too" in ran.out
    assert ran.out.index("remembered") < ran.out.index("exporting   to onnx") and "comparing" not in ran.out
