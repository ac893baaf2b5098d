"""Every switch changes what it says and nothing else.

One test a field, named after it. Each compares all that `observe` sees of two runs that differ in the one switch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from aaclip_kit import TowerName, UserError
from aaclip_kit.checkpoints.checkpoint import read, save, trained_state
from aaclip_kit.checkpoints.provenance import Metadata
from aaclip_kit.evaluation.class_metrics import METRICS
from aaclip_kit.evaluation.evaluator import Evaluator, ScoredBatch
from aaclip_kit.experiment import load
from aaclip_kit.experiment.schema import Switches
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import reported
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import StepCallback

from ..build import (
    build,
    class_embeddings,
    contexts_for,
    evaluator_of,
    head_of,
    images_for,
    phase_for,
    plan_for,
    run_file,
    text_of,
    untouched_features,
)  # fmt: skip
from ..conftest import EXPERIMENT
from ..evaluation.given import GivenScores, whole_class
from ..helpers import assert_close, untested

pytestmark = pytest.mark.usefixtures("undrawn")

LONG_NAME = 'data.test.real_names.green_wood="green wood with a very long and winding grain"'
CLASSES = ("red_cloth", "green_wood", "green_wood", "red_cloth")
BOTH: frozenset[TowerName] = frozenset({"text", "vision"})

NOTHING: set[str] = set()
TEXT_PHASE_SEES = {"patches that the text phase sees", "image context of the text phase"}


def observe(run: Run) -> dict[str, Any]:
    """What a run computes, by name; everything that a switch may change. The phases, which move weights, come last."""
    model, images, contexts = run.model, images_for(run, 4), contexts_for(run, 4)
    with torch.no_grad():
        trained = model.image_features(images, CLASSES, True)
        seen, context = model.text_phase_inputs(images, CLASSES, True, BOTH)
        found = {
            "frozen features": untouched_features(model, images).levels,
            "frozen text features": text_of(model).untrained_features(CLASSES[:2]),
            "text features": model.text_features(CLASSES, None),
            "conditioned text features": model.text_features(CLASSES, contexts),
            "text context": vars(model.text_contexts(CLASSES, True)["text"]),
            "image features": [trained.levels, trained.detection],
            "patches that the text phase sees": seen.levels,
            "image context of the text phase": context,
        }
    return {**found, **_observed_scores(run), **_observed_training(run)}


def _observed_scores(run: Run) -> dict[str, Any]:
    evaluator, data = evaluator_of(run), run.data.sets["test"]
    scores = whole_class(evaluator, data, "green_wood", BOTH)
    before = whole_class(evaluator, data, "green_wood", frozenset(), trained=False)
    sound = replace(data, samples=tuple(sample for sample in data.samples if not sample.label))
    return {
        "scores": [scores.maps, scores.detection],
        "scores before training": before.maps,
        "image scores": _image_scores_of_made_up_maps(evaluator, run, before),
        "metrics of a class with one label": evaluator.metrics(sound, BOTH, trained=True)["mean"],
    }


def _image_scores_of_made_up_maps(evaluator: Evaluator, run: Run, like: ScoredBatch) -> Any:
    """What does not depend on the detector."""
    maps = torch.rand(like.maps.shape, generator=torch.Generator().manual_seed(0)).numpy()
    detection = torch.linspace(0.2, 0.6, len(maps)).numpy()
    peaks = maps.reshape(len(maps), -1).max(1)
    made_up = replace(like, maps=maps, detection=detection, peaks=peaks, image_scores=(detection + peaks) / 2)
    given = GivenScores(**vars(evaluator), given=made_up)
    return given.class_metrics(run.data.sets["test"], "green_wood", frozenset(), trained=False).images.state()


def _observed_training(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tower in ("text", "vision"):
        terms: list[list[str]] = []
        modes: list[list[bool]] = []

        def watch(step: Any, terms: list[list[str]] = terms, modes: list[list[bool]] = modes) -> None:
            terms.append(list(step.terms))
            modes.append([module.training for module in run.model.modules()])

        train_phase(phase_for(run, plan_for(tower, batch_size=8)), StepCallback(watch))
        found |= {f"terms of the {tower} phase": terms, f"modules in training mode, {tower} phase": modes}
    return found


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    return bool((first == second).all()) if hasattr(first, "all") else first == second


def changed(path: Path, switch: str, value: str) -> set[str]:
    """Names of all observations that the switch changes."""
    first = observe(build(path, LONG_NAME))
    second = observe(build(path, LONG_NAME, f"switches.{switch}={value}"))
    return {name for name, found in first.items() if not same(found, second[name])}


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> tuple[Path, dict[str, Any]]:
    """Folder and metrics of a whole run in the corrected form."""
    folder = tmp_path_factory.mktemp("corrected")
    (folder / "small.toml").write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    return folder / "run", run_file(folder / "small.toml", folder / "run")[0]


def test_observations_are_repeatable(small_experiment: Path) -> None:
    assert changed(small_experiment, "surgery_attention", "tokens") == NOTHING


def test_surgery_attention(small_experiment: Path) -> None:
    assert changed(small_experiment, "surgery_attention", "batch") == {"frozen features", "scores before training"}
    across_batch, across_tokens = (
        build(small_experiment, f"switches.surgery_attention={value}") for value in ("batch", "tokens")
    )
    images = images_for(across_batch, 3)
    level = (8,)
    first, second = (untouched_features(run.model, images, level) for run in (across_batch, across_tokens))
    assert_close(first.detection, second.detection)
    one, other = (untouched_features(run.model, images[:1], level).levels[8] for run in (across_batch, across_tokens))
    assert (one - other).abs().max() > 1e-4, "one image alone attends to itself in the batch, not to its tokens"


def test_text_loss_levels(small_experiment: Path) -> None:
    assert changed(small_experiment, "text_loss_levels", "last") == {"terms of the text phase"}
    observed = observe(build(small_experiment, "switches.text_loss_levels=last"))
    parts = ("focal", "dice_normal", "dice_abnormal")
    last = [*(f"segmentation/level_8_{part}" for part in parts), "orthogonality/orthogonality"]
    assert observed["terms of the text phase"] == [last]
    every = [f"segmentation/level_{level}_{part}" for level in (2, 4, 6, 8) for part in parts]
    assert observed["terms of the vision phase"] == [[*every, "detection/image_cross_entropy"]]


def test_image_context(small_experiment: Path) -> None:
    """The mean itself, and the published quirk, are compared with the naive loop in test_text."""
    assert changed(small_experiment, "image_context", "batch_mean") == {"conditioned text features"}
    own, mean = (build(small_experiment, f"switches.image_context={value}").model for value in ("own", "batch_mean"))
    context = contexts_for(build(small_experiment), 1)
    assert_close(own.text_features(CLASSES[:1], context), mean.text_features(CLASSES[:1], context))


def test_text_context_padding(small_experiment: Path) -> None:
    found = changed(small_experiment, "text_context_padding", "attended")
    assert found == {"text context", "image features", *TEXT_PHASE_SEES, "scores"}
    context = build(small_experiment, "switches.text_context_padding=attended").model.text_contexts(CLASSES, True)
    assert context["text"].tokens.shape == (len(set(CLASSES)), 16 * 77, 16) and context["text"].mask is None


def test_trained_context(small_experiment: Path) -> None:
    assert changed(small_experiment, "trained_context", "one_block_more") == TEXT_PHASE_SEES
    model = build(small_experiment, "switches.trained_context=one_block_more").model
    images = images_for(build(small_experiment), 4)
    seen, context = model.text_phase_inputs(images, CLASSES, True, BOTH)
    embedding = normalize(class_embeddings(model, images), dim=-1)[:, None]
    for level, found in model.image_features(images, CLASSES, attention=False).levels.items():
        assert_close(seen.levels[level], found + embedding)
    x = model.backbone.embed_image(images)
    for block in range(3):
        x = model.backbone.vision_block(block, x)
        for at, _, stage in model.slots.of("vision"):
            x = stage(x, None) if at == block and stage.context_kind == "none" else x
    patches = head_of(model).segmentation["2"](model.backbone.finish_vision(x)[:, 1:])
    assert_close(context, normalize(patches, dim=-1) + embedding)


def test_evaluation_attention(small_experiment: Path) -> None:
    assert changed(small_experiment, "evaluation_attention", "false") == {"scores"}
    on, off = (build(small_experiment, f"switches.evaluation_attention={value}") for value in ("true", "false"))
    data = on.data.sets["test"]
    switched_off = whole_class(evaluator_of(off), data, "green_wood", BOTH)
    never_on = whole_class(evaluator_of(on), data, "green_wood", {"text"})
    assert_close(switched_off.maps, never_on.maps)
    assert_close(switched_off.detection, never_on.detection)


def test_dropout(small_experiment: Path) -> None:
    """That the losses then vary with the random state is shown in test_training."""
    modes = {f"modules in training mode, {tower} phase" for tower in ("text", "vision")}
    assert changed(small_experiment, "dropout", "false") == modes
    observed = observe(build(small_experiment, "switches.dropout=false"))
    assert not any(any(step) for name in modes for step in observed[name])


def test_checkpoint_mismatch(small_experiment: Path, tmp_path: Path) -> None:
    assert changed(small_experiment, "checkpoint_mismatch", "ignore") == NOTHING
    fits, bad = tmp_path / "fits.safetensors", tmp_path / "bad.safetensors"
    first = build(small_experiment)
    save(first.model, fits, Metadata())
    bad.write_bytes(b"damaged")
    for checkpoint in (bad, tmp_path / "absent.safetensors"):
        start = [f"init.checkpoint={checkpoint}"]
        with pytest.raises(UserError):
            assemble(load(small_experiment, discover(), start))
        ignored = assemble(load(small_experiment, discover(), [*start, "switches.checkpoint_mismatch=ignore"]))
        assert same(trained_state(ignored.model), trained_state(assemble(load(small_experiment, discover())).model))
    start = [f"init.checkpoint={fits}", "switches.checkpoint_mismatch=ignore"]
    loaded = assemble(load(small_experiment, discover(), start))
    assert same(trained_state(loaded.model), trained_state(first.model)), "what fits is loaded all the same"


@pytest.mark.slow
def test_checkpoint_format(small_experiment: Path, tmp_path: Path, corrected: tuple[Path, dict[str, Any]]) -> None:
    assert changed(small_experiment, "checkpoint_format", "pickle") == NOTHING
    folder, metrics = corrected
    assert run_file(small_experiment, tmp_path / "run", "switches.checkpoint_format=pickle")[0] == metrics
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"loop_1.pth", "loop_1.pth.json", "loop_2.pth", "loop_2.pth.json"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"loop_1.safetensors", "loop_2.safetensors"}
    plain = torch.load(tmp_path / "run" / "checkpoints" / "loop_2.pth", weights_only=True)
    assert same(plain, read(folder / "checkpoints" / "loop_2.safetensors"))


def test_one_label_auroc(small_experiment: Path) -> None:
    assert changed(small_experiment, "one_label_auroc", "zero") == {"metrics of a class with one label"}
    undefined, zero = (
        _observed_scores(build(small_experiment, f"switches.one_label_auroc={value}"))[
            "metrics of a class with one label"
        ]
        for value in ("undefined", "zero")
    )
    assert undefined == dict.fromkeys(METRICS)
    assert zero == {metric: 0.0 if metric.startswith("image") else None for metric in METRICS}


def test_reported_loop(small_experiment: Path, tmp_path: Path, corrected: tuple[Path, dict[str, Any]]) -> None:
    assert changed(small_experiment, "reported_loop", "best_on_test") == NOTHING
    _, metrics = corrected
    found = run_file(small_experiment, tmp_path / "run", "switches.reported_loop=best_on_test")[0]
    best = max(metrics["loops"], key=lambda loop: loop["mean"]["pixel_auroc"])["loop"]
    assert found.pop("quoted") == {"loop": best, "rule": "best_on_test"}
    assert metrics["quoted"] == {"loop": 2, "rule": "last"}
    assert found == {key: value for key, value in metrics.items() if key != "quoted"}
    loops = [{"loop": n, "mean": {"pixel_auroc": value}} for n, value in ((1, 0.7), (2, 0.9), (3, None))]
    assert reported(loops, "best_on_test")["loop"] == 2
    assert reported(loops, "last")["loop"] == 3
    bare = [{"loop": n, "mean": {"pixel_auroc": None, "image_auroc": value}} for n, value in ((1, 0.6), (2, 0.8))]
    bare.append({"loop": 3, "mean": {"pixel_auroc": None, "image_auroc": 0.7}})
    assert reported(bare, "best_on_test") == {"loop": 2, "rule": "best_on_test"}
    nothing = [{"loop": n, "mean": {"pixel_auroc": None, "image_auroc": None}} for n in (1, 2)]
    assert reported(nothing, "best_on_test") == {"loop": 2, "rule": "last"}


def test_score_normalisation(small_experiment: Path) -> None:
    """The published formula itself is written out in tests/evaluation/test_evaluator.py."""
    assert changed(small_experiment, "score_normalisation", "test_set") == {"image scores"}


def test_no_switch_is_left_out() -> None:
    assert untested(Switches.model_fields, __file__) == []
