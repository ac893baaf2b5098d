"""The built-in plugins keep their contracts, by the same kit that a stranger uses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import Kind
from aaclip_kit.testing import checks_of, conformance, tiny_experiment
from aaclip_kit.testing.check import Broken
from aaclip_kit.testing.subject import NotApplicable, find_subject

from ..plugins.made_photographs import own
from ..plugins.miniature import miniature
from ..plugins.tiny_vits import weights_file
from ..tiers import daily

Check = Callable[[], None]

STAGES: dict[str, dict[str, Any]] = {
    "text_to_image": {},
    "image_to_text": {"after": [0, 2], "norm_matched": False},
    "residual_adapter": {"tower": "text", "after": [0]},
}
OTHER_STAGES: dict[str, dict[str, Any]] = {"ada_clip": {}}
OTHER_PROMPTS: dict[str, dict[str, Any]] = {"learnt": {}, "ada_clip": {"depth": 3}}
OTHER_HEADS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("win_clip", "april_gan", "anomaly_clip", "text_free")},
    # Which of several clusters wins is not continuous.
    "ada_clip": {"clusters": 1},
}
MEMORIES = ("patch_memory", "april_gan", "win_clip", "anomaly_dino")
LOSSES = ("segmentation", "focal", "dice", "orthogonality", "image_cross_entropy", "image_focal")
SCHEDULERS: dict[str, dict[str, Any]] = {
    "base": {},
    "feedback": {},
    "v2": {"attention_from_loop": 2},
    "single": {"train": "vision", "epochs": 1},
    "none": {},
}
DATA_SETS = ("folder", "manifest", "synthetic", "blended", "pasted", "mvtec", "colon_kvasir")
"""Of the public ones, whose reader is one and the same, two: with normal images, and without."""

TRACKERS = ("csv", "tensorboard", "mlflow", "wandb")


@conformance("attention-stage", "text_to_image", options=STAGES["text_to_image"])
def test_text_to_image(check: Check) -> None:
    check()


@conformance("attention-stage", "image_to_text", options=STAGES["image_to_text"])
def test_image_to_text(check: Check) -> None:
    check()


@conformance("attention-stage", "residual_adapter", options=STAGES["residual_adapter"])
def test_residual_adapter(check: Check) -> None:
    check()


@conformance("backbone", "embedded")
def test_embedded_backbone(check: Check) -> None:
    check()


@conformance("prompts", "ensemble", options={"projection": "backbone"})
def test_ensemble_prompts(check: Check) -> None:
    check()


@conformance("head", "projections", options={"activation": True})
def test_projections_head(check: Check) -> None:
    check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"projection": "frozen"}, {"ensemble": "april_gan", "average": "raw"}, {"ensemble": "win_clip"}],
)
def test_other_ensembles(options: dict[str, Any]) -> None:
    run_all("prompts", "ensemble", options)


@pytest.mark.parametrize("name", daily(OTHER_STAGES))
def test_stages_of_published_methods(name: str) -> None:
    run_all("attention-stage", name, OTHER_STAGES[name], passed_over=4)


@pytest.mark.parametrize("name", daily(OTHER_PROMPTS))
def test_prompts_of_published_methods(name: str) -> None:
    # As published, the first of AdaCLIP's static tokens has no use.
    run_all("prompts", name, OTHER_PROMPTS[name], broken=("P11",) if name == "ada_clip" else ())


@pytest.mark.parametrize("name", daily(OTHER_HEADS))
def test_heads_of_published_methods(name: str) -> None:
    run_all("head", name, OTHER_HEADS[name])


@conformance("reference", "patch_memory", options={"coreset": 0.5, "neighbours": 2})
def test_patch_memory(check: Check) -> None:
    check()


@pytest.mark.slow
def test_a_memory_alone() -> None:
    run_all("reference", "patch_memory", {"combine": "alone", "tokens": "raw"})


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMORIES[1:])
def test_published_memories(name: str) -> None:
    run_all("reference", name, {})


@pytest.mark.parametrize("name", daily(LOSSES, "segmentation"))
def test_losses(name: str) -> None:
    run_all("loss", name, {})


@pytest.mark.parametrize("name", daily(SCHEDULERS, "feedback"))
def test_schedulers(name: str) -> None:
    run_all("scheduler", name, SCHEDULERS[name])


@pytest.mark.parametrize("name", daily(TRACKERS, "csv"))
@pytest.mark.filterwarnings("ignore")  # those of other packages, which a run's own process does not see
def test_trackers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name, reason=f"the tracker needs the package {name}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    options: dict[str, dict[str, Any]] = {"mlflow": {"uri": (tmp_path / "ml").as_uri()}, "wandb": {"mode": "offline"}}
    run_all("tracker", name, options.get(name, {}))


@pytest.mark.parametrize("name", daily(DATA_SETS, "folder"))
def test_data_sets(name: str, tmp_path: Path) -> None:
    run_all("data-set", name, written(name, tmp_path))


@pytest.mark.slow
def test_a_backbone_of_random_weights(tmp_path: Path) -> None:
    tiny_experiment(tmp_path)
    run_all("backbone", "open_clip", {"model": str(tmp_path / "tiny_model"), "pretrained": "none"})


@pytest.mark.parametrize("model", daily(["tiny_dinov3", "tiny_dinov2_reg", "tiny_dinov2"], "tiny_dinov3"))
def test_backbones_of_timms(model: str, tmp_path: Path) -> None:
    run_all("backbone", "timm", {"model": model, "pretrained": str(weights_file(model, tmp_path)), "surgery_blocks": 2})


def test_each_built_in_component_is_here() -> None:
    """But for public data sets, of which some are."""
    built_in = {key for key, part in discover().components.items() if part.plugin.package == "aaclip-kit"}
    public = {
        key for key in built_in if "root" in discover().components[key].options.model_fields and key[0] == "data-set"
    }
    tested: set[tuple[Kind, str]] = {("backbone", name) for name in ("embedded", "open_clip", "timm")}
    tested |= {("prompts", name) for name in ("ensemble", *OTHER_PROMPTS)}
    tested |= {("head", name) for name in ("projections", *OTHER_HEADS)}
    tested |= {("reference", name) for name in MEMORIES}
    tested |= {("attention-stage", name) for name in (*STAGES, *OTHER_STAGES)} | {("loss", name) for name in LOSSES}
    tested |= {("scheduler", name) for name in SCHEDULERS} | {("data-set", name) for name in DATA_SETS}
    tested |= {("tracker", name) for name in TRACKERS}
    assert built_in - public <= tested <= built_in


def run_all(
    kind: Kind, name: str, options: dict[str, Any], *, broken: tuple[str, ...] = (), passed_over: int = 2
) -> None:
    """Run the checks of a kind, of which `broken` fail, and at most `passed_over` do not apply."""
    subject = find_subject(kind, name, options, None)
    skipped, failed = set(), []
    for check in checks_of(kind):
        try:
            check.run(subject)
        except NotApplicable:
            skipped.add(check.id)
        except Broken:
            if check.id not in broken:
                raise
            failed.append(check.id)
    assert tuple(failed) == broken
    assert skipped == {"B4", "B5", "B11"} if name == "timm" else len(skipped) <= passed_over


def written(name: str, folder: Path) -> dict[str, Any]:
    """Options of a data set, whose files are written."""
    if name in ("synthetic", "blended"):
        few: dict[str, Any] = {"images_per_class": 2, "image_size": 56}
        few["classes"] = ["leather", "denim"] if name == "synthetic" else ["sand", "towel"]
        return {"split": "train", "cache": str(folder / "cache"), **few}
    if name == "pasted":
        few = {"images_per_class": 2, "image_size": 56, "photographs": str(own(folder / "good", 5))}
        return {"split": "train", "cache": str(folder / "cache"), **few}
    if name in ("folder", "manifest"):
        tiny_experiment(folder)
        root = folder / "tiny_data"
        return {"root": str(root)} if name == "folder" else {"manifest": str(manifest_of(root))}
    miniature(folder, name, ["bottle", "cable"] if name == "mvtec" else [name])
    return {"root": str(folder), **({"classes": ["bottle", "cable"]} if name == "mvtec" else {})}


def manifest_of(root: Path) -> Path:
    file = root / "list.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["image_path", "label", "class_name", "mask_path"])
        for image in sorted(root.glob("*/test/*/*.png")):
            name, defect = image.parts[-4], image.parts[-2]
            mask = "" if defect == "good" else f"{name}/ground_truth/{defect}/{image.stem}_mask.png"
            writer.writerow([image.relative_to(root).as_posix(), int(bool(mask)), name, mask])
    return file
