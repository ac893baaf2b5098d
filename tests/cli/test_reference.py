"""A memory of normal images, from the run that fills it to predictions without those images, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from aaclip_kit import load_model
from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.record.run_folder import BANK

from ..build import run_file
from ..command import Command, Ran
from ..conftest import EXPERIMENT, write_class
from ..helpers import assert_close
from .conftest import assert_plain, contents

pytestmark = pytest.mark.usefixtures("undrawn")

ONE_LOOP = "scheduler.text_epochs=[1] scheduler.image_epochs=[1] scheduler.rate_factors=[1.0] evaluation.heatmaps=2"
RUN_COST = (*ONE_LOOP.split(), "calibration.held_out=0.5", "device=cpu")
UNTRAINED = ("scheduler.use=none", "evaluation.heatmaps=2", "calibration.held_out=0", "device=cpu")


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other images of the test class, in the layout of public data sets: train/good."""
    root = tmp_path_factory.mktemp("normal")
    write_class(root, "green_wood", 1, seed=21)
    (root / "green_wood" / "test").rename(root / "green_wood" / "train")
    shutil.rmtree(root / "green_wood" / "train" / "spot")
    return root


def write_file(folder: Path, tiny_clip: Path, defects: Path, normal: Path, more: str = "") -> Path:
    tables = '[reference]\nuse = "patch_memory"\n[data.reference]\nuse = "folder"\npart = "train"\nshots = 3\n'
    path = folder / "small.toml"
    path.write_text(EXPERIMENT.format(model=tiny_clip, data=defects) + tables + f'root = "{normal}"\n' + more)
    return path


@pytest.fixture
def file(tmp_path: Path, tiny_clip: Path, defects: Path, normal: Path) -> Path:
    return write_file(tmp_path, tiny_clip, defects, normal)


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path, normal: Path
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A finished run with a memory, and its metrics."""
    folder = tmp_path_factory.mktemp("remembered")
    metrics, _ = run_file(write_file(folder, tiny_clip, defects, normal), folder / "run", *RUN_COST)
    yield folder / "run", metrics


@pytest.fixture
def run(kept: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(kept[0], tmp_path / "run"))


def remembered(run: Path) -> list[str]:
    """SHA-256 of the images of the only class that is remembered."""
    with safe_open(run / "checkpoints" / BANK, framework="pt") as bank:
        ((name, digests),) = json.loads(bank.metadata()["images"]).items()
    assert name == "green_wood"
    return list(digests)


def test_the_bank_lies_beside_the_checkpoints_with_checksums_of_its_images(run: Path, normal: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert len(remembered(run)) == 3
    assert manifest["data"]["reference"]["shots"]["normal"] == 3
    assert read_metadata(run / "checkpoints" / "loop_1.safetensors").normal_scores.keys() == {"green_wood"}


def test_evaluate_gives_the_figures_of_the_run_without_the_images(
    aakit: Command, run: Path, kept: tuple[Path, dict[str, Any]]
) -> None:
    experiment = run / "experiment.toml"
    experiment.write_text(experiment.read_text().replace("/train/", "/nowhere/"))
    ran = aakit("evaluate", run, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["classes"] == kept[1]["loops"][0]["classes"]


def test_a_loaded_model_scores_as_the_run_did_and_the_memory_acts(run: Path, defects: Path) -> None:
    image = defects / "green_wood" / "test" / "spot" / "000.png"
    model = load_model(run, device="cpu")
    found = model.predict(image, "green_wood")
    heavier = load_model(run, device="cpu")
    assert model.model.reference is not None and heavier.model.reference is not None
    heavier.model.reference.options = heavier.model.reference.options.model_copy(update={"weight": 9.0})  # type: ignore[operator, union-attr]
    assert heavier.predict(image, "green_wood").pred_score > found.pred_score
    assert found.threshold is None  # chosen on images without references, as the checkpoint says
    reasons = read_metadata(run / "checkpoints" / "loop_1.safetensors").calibration
    assert reasons is not None and "without references" in reasons.reasons["image_threshold"]


def test_a_class_that_nothing_is_remembered_of_is_refused_before_anything_is_written(
    aakit: Command, place: Path, run: Path, defects: Path
) -> None:
    images = defects / "green_wood" / "test" / "good"
    ran = aakit("predict", run, images, "--out", place / "out", "--uncalibrated")
    assert_plain(ran)
    assert "nothing is remembered of class object" in ran.err and "green_wood" in ran.err
    assert contents(place) == {}
    ran = aakit("predict", run, images, "--out", place / "out", "--uncalibrated", "--class", "green_wood")
    assert (ran.code, ran.err) == (0, "")


def _missing(run: Path) -> str:
    (run / "checkpoints" / BANK).unlink()
    return "the memory of the model is not there"


def _cut(run: Path) -> str:
    bank = run / "checkpoints" / BANK
    bank.write_bytes(bank.read_bytes()[:1000])
    return "damaged"


def _flipped(run: Path) -> str:
    bank = run / "checkpoints" / BANK
    content = bytearray(bank.read_bytes())
    content[-5] ^= 1
    bank.write_bytes(content)
    return "its checksum is another"


def _of_other_options(run: Path) -> str:
    return "was not filled by the experiment's memory"


@pytest.mark.parametrize("spoil", [_missing, _cut, _flipped, _of_other_options])
def test_a_bank_that_does_not_belong_is_refused(
    aakit: Command, run: Path, spoil: Callable[[Path], str], place: Path
) -> None:
    problem = spoil(run)
    other = ("--set", "reference.coreset=0.5") if spoil is _of_other_options else ()
    ran = aakit("evaluate", run, *other)
    assert_plain(ran)
    assert problem in ran.err


@pytest.mark.parametrize("anew", [False, True])
def test_test_images_that_are_remembered_are_refused(
    aakit: Command, run: Path, normal: Path, defects: Path, tmp_path: Path, anew: bool
) -> None:
    """Saved anew, without a loss, they are other files with the same pixels."""
    data = Path(shutil.copytree(defects, tmp_path / "data"))
    digests = remembered(run)
    assert len(digests) == 3
    for image in (normal / "green_wood" / "train" / "good").iterdir():
        copied = Path(shutil.copy(image, data / "green_wood" / "test" / "good" / f"taught_{image.name}"))
        if anew:
            with Image.open(image) as picture:
                picture.save(copied, compress_level=1)
            assert copied.read_bytes() != image.read_bytes()
    ran = aakit("evaluate", run, "--set", "data.test.use=folder", "--set", f"data.test.root={data}",
                "--set", 'data.test.classes=["green_wood"]')  # fmt: skip
    assert_plain(ran)
    assert "remembers 3 of these images as normal" in ran.err


def test_references_among_the_test_images_are_refused(aakit: Command, place: Path, file: Path, defects: Path) -> None:
    ran = aakit(
        "run", file, "--out", place / "out", "--set", f"data.reference.root={defects}",
        "--set", "data.reference.part=test", "--set", 'data.reference.classes=["green_wood"]',
    )  # fmt: skip
    assert_plain(ran)
    assert "data.reference and data.test share 3 images by content" in ran.err
    assert contents(place) == {}


def refused(aakit: Command, file: Path, *overrides: str) -> Ran:
    ran = aakit("run", file, "--dry-run", *(part for one in overrides for part in ("--set", one)))
    assert_plain(ran)
    return ran


def test_each_test_class_needs_references(aakit: Command, file: Path) -> None:
    ran = refused(aakit, file, 'data.test.classes=["red_cloth", "green_wood"]', "data.allow_overlap=true")
    assert "data.reference: holds no image of test class red_cloth" in ran.err


def test_a_memory_and_its_images_come_together(aakit: Command, file: Path) -> None:
    text = file.read_text()
    file.write_text(text.replace('[reference]\nuse = "patch_memory"\n', ""))
    assert "data.reference: nothing reads it" in refused(aakit, file).err
    file.write_text(text.partition("[data.reference]")[0])
    assert "reference: has no images to remember" in refused(aakit, file).err


def test_levels_that_the_backbone_lacks_are_refused(aakit: Command, file: Path) -> None:
    assert "reference.levels" in refused(aakit, file, "reference.levels=[9]").err


def test_a_dry_run_says_what_the_memory_takes(aakit: Command, file: Path) -> None:
    ran = aakit("run", file, "--dry-run")
    (line,) = [line for line in ran.out.splitlines() if line.startswith("reference  patch_memory")]
    # 3 images, 4 levels, 16 patches that are kept and 16 that probe, 32 numbers of 4 bytes, and the scale.
    assert f"about {(3 * 4 * 32 * 32 * 4 + 8) / 1e6:.3g} MB a class of 3 images" in line and "ms an image" in line


def test_fewer_shots_are_among_more(aakit: Command, place: Path, file: Path, run: Path) -> None:
    metrics, _ = run_file(file, place / "two", *UNTRAINED, "data.reference.shots=2")
    two, three = (set(remembered(one)) for one in (place / "two", run))
    assert len(two) == 2 and two < three and metrics["loops"] == []


def test_combine_alone_leaves_the_head_out(file: Path, place: Path) -> None:
    """Without training, other words for the class change no order of the scores."""
    overrides = (*UNTRAINED, "reference.combine=alone")
    found = [
        run_file(file, place / name, *overrides, f'data.test.real_names={{green_wood = "{name}"}}',
                 f'data.reference.real_names={{green_wood = "{name}"}}')[0]
        for name in ("wood", "carpet")
    ]  # fmt: skip
    for metric in ("pixel_auroc", "pixel_ap", "image_auroc"):
        one, other = (metrics["before"]["mean"][metric] for metrics in found)
        assert_close(one, other, atol=1e-3)


def test_banks_hold_numbers_alone(run: Path) -> None:
    tensors = load_file(run / "checkpoints" / BANK)
    assert {name.partition(".")[2] for name in tensors} == {"patches", "probes", "scale"}
    assert all(torch.isfinite(one).all() for one in tensors.values())


def test_a_copy_is_no_second_reference(aakit: Command, file: Path, normal: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies" / "green_wood" / "train" / "good"
    folder.mkdir(parents=True)
    image = next((normal / "green_wood" / "train" / "good").iterdir())
    for name in ("one.png", "two.bmp"):
        Image.open(image).save(folder / name)
    text = file.read_text().replace("shots = 3\n", "").replace(str(normal), str(folder.parents[2]))
    file.write_text(text)
    ran = aakit("run", file, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert "data.reference: 1 copies of other images are left out of the references" in ran.out
    assert "reference  1 classes, 1 normal and 0 anomalous images" in ran.out
