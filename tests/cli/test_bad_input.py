"""Bad input to `aakit run`: one plain message that says what to do, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file

from ..command import Command, Ran
from ..conftest import TINY
from ..helpers import Code
from .conftest import assert_plain, contents

pytestmark = pytest.mark.usefixtures("undrawn")

Refused = Callable[..., Ran]
Weights = dict[str, torch.Tensor]


def sets(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


FILE = {
    "unknown key": (("evaluation.bach_size=4",), "evaluation.bach_size: unknown key", "did you mean 'batch_size'?"),
    "unknown key of a component": (("backbone.modle=x",), "backbone.modle: unknown key", "did you mean 'model'?"),
    "wrong type": (("workers=many",), "workers: input should be a valid integer (given: 'many')", "decode images"),
    "wrong type of a component": (("scheduler.text_batch=4.5",), "scheduler.text_batch: input", "images in a batch"),
    "unknown component": (
        ("stages.text_adapter.use=residual_adaptor",),
        "there is no attention-stage called 'residual_adaptor'",
        "did you mean 'residual_adapter'?",
    ),
    "unknown data set": (("data.test.use=floder",), "there is no data-set called 'floder'", "did you mean 'folder'?"),
    "scale out of range": (("stages.text_to_image.scale=11",), "scale: input should be less than", "strength"),
    "negative scale": (("stages.image_to_text.scale=-0.1",), "scale: input should be greater than", "strength"),
    "image size out of range": (("backbone.image_size=0",), "backbone.image_size: input should be greater", "pixels"),
    "negative seed": (("seed=-1",), "seed: input should be greater than or equal to 0", "seed of weights"),
    "no such device": (("device=gpu",), "device: string should match", "auto, cpu, cuda or cuda:N"),
    "override without value": (("seed",), "'seed' is not of the form table.key=value", "write --set"),
    "override through a value": (("seed.x=1",), "seed is a value, not a table", "set seed itself"),
}

ASSEMBLY = {
    "image size and patch": (
        ("backbone.image_size=36",),
        "backbone.image_size: 36 pixels are not a whole number of patches of 8",
        "the nearest sizes are 32 and 40",
    ),
    "no such checkpoint": (("init.checkpoint=none.safetensors",), "there is no such checkpoint", "loop_N"),
    "no such model folder": (("backbone.model=no/such/model",), "backbone.model: there is no folder", "open_clip_conf"),
    "no such weights": (("backbone.pretrained=no/such.bin",), "does not exist", "weights file"),
}


@pytest.mark.parametrize(("overrides", "problem", "fix"), [*FILE.values(), *ASSEMBLY.values()], ids=[*FILE, *ASSEMBLY])
def test_a_faulty_experiment_is_refused(refused: Refused, overrides: tuple[str, ...], problem: str, fix: str) -> None:
    ran = refused(*sets(*overrides))
    found, _, advice = ran.err.partition("\n    fix: ")
    assert problem in found
    assert fix in advice


@pytest.mark.parametrize("profile", ["corrected", "published"])
def test_a_dry_run_finds_the_same_faults(refused: Refused, profile: str) -> None:
    ran = refused("--dry-run", *sets(f"profile={profile}", "stages.text_to_image.heads=3"))
    assert "3 heads do not divide" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"name = ", "is not TOML"), (b"\xff\xfe\x00", "cannot be read"), (None, "there is no such file")],
)
def test_a_file_that_is_no_toml(refused: Refused, tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "bad.toml"
    if content is not None:
        file.write_bytes(content)
    assert f"{file}: {said}" in refused(experiment=file).err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none(refused: Refused, name: str) -> None:
    assert f"device is '{name}', but torch sees no CUDA device" in refused("--device", name).err


# Data.


def roots(data: Path) -> list[str]:
    return sets(f"data.train.root={data}", f"data.test.root={data}")


def _empty_class(data: Path) -> Path:
    for image in (data / "red_cloth" / "test").rglob("*.png"):
        image.unlink()
    return data / "red_cloth"


def _without_a_mask(data: Path) -> Path:
    (data / "red_cloth" / "ground_truth" / "spot" / "002_mask.png").unlink()
    return data / "red_cloth" / "test" / "spot" / "002.png"


def _text_files(data: Path) -> Path:
    for image in (data / "red_cloth" / "test").rglob("*.png"):
        image.rename(image.with_suffix(".txt"))
    return data / "red_cloth"


def _one_pixel(data: Path) -> Path:
    image = data / "green_wood" / "test" / "good" / "002.png"
    Image.new("RGB", (1, 1)).save(image)
    return image


def _other_size(data: Path) -> Path:
    mask = data / "green_wood" / "ground_truth" / "spot" / "001_mask.png"
    Image.new("L", (41, 40), 255).save(mask)
    return mask


def _unreadable(data: Path) -> Path:
    image = data / "green_wood" / "test" / "good" / "002.png"
    image.write_text("no image")
    return image


def _truncated(data: Path) -> Path:
    image = data / "red_cloth" / "test" / "spot" / "003.png"
    image.write_bytes(image.read_bytes()[:900])
    return image


def _truncated_mask(data: Path) -> Path:
    mask = data / "red_cloth" / "ground_truth" / "spot" / "003_mask.png"
    mask.write_bytes(mask.read_bytes()[:50])
    return mask


def _missing(data: Path) -> Path:
    shutil.rmtree(data)
    return data


def _no_class(data: Path) -> Path:
    shutil.rmtree(data)
    (data / "notes").mkdir(parents=True)
    return data


DAMAGE = {
    "missing": (_missing, "there is no such folder"),
    "no class in it": (_no_class, "no class in this folder"),
    "an empty class": (_empty_class, "class 'red_cloth' has no images"),
    "without a mask": (_without_a_mask, "an anomalous image has no mask"),
    "text files": (_text_files, "class 'red_cloth' has no images; passed over: 8 .txt (such as "),
    "an image of one pixel": (_one_pixel, "is 1 x 1 pixels, too small to show anything"),
    "a mask of another size": (_other_size, "the mask is 41 x 40 pixels, its image 40 x 40"),
    "an unreadable image": (_unreadable, "cannot be read as an image"),
    "a truncated image": (_truncated, "cannot be read as an image"),
    "a truncated mask": (_truncated_mask, "cannot be read as an image"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_faulty_data_folder(refused: Refused, data: Path, damage: Callable[[Path], Path], said: str) -> None:
    where = damage(data)
    ran = refused(*roots(data))
    assert f"{where}: {said}" in ran.err


def test_training_images_of_which_none_is_anomalous(refused: Refused, data: Path) -> None:
    for folder in ("test", "ground_truth"):
        shutil.rmtree(data / "red_cloth" / folder / "spot")
    assert "data.train: none of its 4 images is anomalous" in refused(*roots(data)).err


def test_every_faulty_image_is_one_message(aakit: Command, place: Path, data: Path, small_experiment: Path) -> None:
    for name in ("000", "001", "002"):
        (data / "red_cloth" / "test" / "good" / f"{name}.png").write_text("no image")
    ran = aakit("run", small_experiment, "--out", place / "out", *roots(data))
    assert_plain(ran, messages=3)
    assert contents(place) == {}


# Weights.


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Weights of the tiny model."""
    return {name: value.clone() for name, value in CLIP(**TINY).state_dict().items()}


def test_pretrained_weights_of_other_shapes(refused: Refused, tmp_path: Path, weights: Weights) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({**weights, "text_projection": torch.zeros(16, 5)}, file)
    ran = refused(*sets(f"backbone.pretrained={file}"))
    assert f"{file}: does not fit the model: text_projection is [16, 5] where [16, 24] is needed" in ran.err


def test_pretrained_weights_that_lack_some(refused: Refused, tmp_path: Path, weights: Weights) -> None:
    file = tmp_path / "weights.pt"
    torch.save({name: value for name, value in weights.items() if name != "ln_final.bias"}, file)
    assert "ln_final.bias is missing" in refused(*sets(f"backbone.pretrained={file}")).err


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_truncated_weights(refused: Refused, tmp_path: Path, weights: Weights, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(weights, file)
    file.write_bytes(file.read_bytes()[:20000])
    assert f"{file}: cannot be read: damaged" in refused(*sets(f"backbone.pretrained={file}")).err


@pytest.mark.parametrize("how", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("key", ["backbone.pretrained", "init.checkpoint"])
def test_a_pickle_with_code_is_not_run(refused: Refused, tmp_path: Path, key: str, how: Callable[..., None]) -> None:
    file, proof = tmp_path / "weights.pt", tmp_path / "the code ran"
    how({"a": Code(proof)}, file)
    assert str(file) in refused(*sets(f"{key}={file}")).err
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"prompts.projection.weight": torch.zeros(2, 2)}, "does not fit: "),
        ({"a": 3}, "holds no plain table of tensors"),
        ({3: torch.zeros(1)}, "holds no plain table of tensors"),
        ([1, 2], "holds no plain table of tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit(refused: Refused, tmp_path: Path, content: object, said: str) -> None:
    file = tmp_path / "loop_1.pth"
    torch.save(content, file)
    assert f"{file}: {said}" in refused(*sets(f"init.checkpoint={file}")).err


@pytest.mark.parametrize("content", [b"", b"this is text", b"PK\x03\x04", b"\x80\x02}q\x00("])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a"])
def test_a_damaged_checkpoint(refused: Refused, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in refused(*sets(f"init.checkpoint={tmp_path / name}")).err


# The output folder.


@pytest.mark.parametrize("present", ["metrics.json", "experiment.toml", "checkpoints/loop_1.safetensors"])
def test_an_output_folder_that_holds_a_run(aakit: Command, place: Path, small_experiment: Path, present: str) -> None:
    file = place / "out" / present
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"kept": True}))
    before = contents(place)
    ran = aakit("run", small_experiment, "--out", place / "out")
    assert_plain(ran)
    assert f"{place / 'out'}: the output folder already holds a run" in ran.err
    assert "assembling" not in ran.out, "found before any work is done"
    assert contents(place) == before


@pytest.mark.parametrize(
    ("name", "out", "said"),
    [("notes.txt", ".", "is not empty"), ("out", "out", "is a file"), ("out", "out/run", "cannot be written")],
)
def test_an_output_folder_that_cannot_be(
    aakit: Command, place: Path, small_experiment: Path, name: str, out: str, said: str
) -> None:
    (place / name).write_text("kept")
    ran = aakit("run", small_experiment, "--out", place / out)
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == {name: b"kept"}


@pytest.mark.parametrize(("weight", "named"), [("1e39", "segmentation/level_2_"), ("1e38", "the sum of all terms ")])
def test_a_loss_that_diverges_ends_with_a_message(
    aakit: Command, place: Path, small_experiment: Path, weight: str, named: str
) -> None:
    ran = aakit("run", small_experiment, "--out", place / "out", *sets(f"losses.text.segmentation.weight={weight}"))
    assert_plain(ran)
    assert f"the loss is not finite: {named}" in ran.err
    assert "(loop 1, text phase, step 1; images " in ran.err


def test_with_debug_the_traceback_comes_first(aakit: Command, place: Path, small_experiment: Path) -> None:
    ran = aakit("--debug", "run", small_experiment, "--set", "seed=-1")
    assert ran.code == 2
    assert ran.err.startswith("Traceback")
    assert "error: " in ran.err
    assert "Traceback" not in aakit("run", small_experiment, "--set", "seed=-1").err


@pytest.mark.parametrize("arguments", [["run"], ["run", "f.toml", "--sed", "3"], ["run", "f", "--seed", "x"], ["fly"]])
def test_a_mistyped_command_is_explained(aakit: Command, place: Path, arguments: list[str]) -> None:
    ran = aakit(*arguments)
    assert ran.code == 2
    assert "error" in ran.err.lower()
    assert "Traceback" not in ran.err
    assert contents(place) == {}
