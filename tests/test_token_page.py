"""docs/plugins/token.md and its picture say what the engine does: shapes, which stages act when, and what trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.projections.head import similarity_grid
from PIL import Image
from torch import Tensor, nn

from aaclip_kit import AttentionStage, DataSet, Loss, Sample, TowerName
from aaclip_kit.contracts.backbone import text_tower
from aaclip_kit.contracts.loss import LossInput
from aaclip_kit.contracts.schedule import Trains
from aaclip_kit.data.loader import Batch, Pixels, TrainBatches
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.experiment import load
from aaclip_kit.experiment.schema import AugmentationTable, EvaluationTable
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.model.build import build_model
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.training.losses import WeightedLosses, total
from aaclip_kit.training.phase import Phase

from .build import head_of, names_in_modules, plan_for, text_of, text_projection_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugins" / "token.md"
PICTURE = ROOT / "docs" / "images" / "token.svg"
CLASSES = {"canvas": "canvas", "carpet": "carpet", "ceramic_tile": "ceramic tile", "leather": "leather"}
BOTH: set[TowerName] = {"text", "vision"}
KINDS = [
    *(("text", "none"), ("text", "image")),
    *(("vision", "none"), ("vision", "image"), ("vision", "class"), ("vision", "text")),
]


class Watch(Loss):
    """Asks for everything that a phase makes, and keeps it."""

    def __init__(self, tower: Trains) -> None:
        super().__init__()
        logits: tuple[LossInput, ...] = () if tower == "text" else ("detection_logits",)
        self.needs = (*logits, "labels", "level_probabilities", "masks", "text_features")  # type: ignore[misc]

    def forward(self, **named: Any) -> dict[str, Tensor]:
        self.named = named
        kept = [named["text_features"], *named["level_probabilities"].values()]
        # Weighted channel by channel, because a softmax sums to 1 whatever is learnt.
        terms = [(value * torch.linspace(0, 1, value[0].numel()).view_as(value[0])).sum() for value in kept]
        if "detection_logits" in named:
            terms.append(named["detection_logits"][:, 1].sum())
        return {"sum": torch.stack(terms).sum()}


class Looks(AttentionStage):
    """A vision stage with an image context, which the experiment has none of; it changes nothing."""

    context_kind = "image"

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens


class LooksAtTheWhole(Looks):
    """The same with the class embedding of the image."""

    context_kind = "class"  # type: ignore[assignment]


@pytest.fixture(scope="module")
def model() -> AnomalyModel:
    experiment = load(ROOT / "experiments" / "feedback.toml", discover())
    torch.manual_seed(0)
    found = build_model(experiment, CLASSES)
    found.slots.place("looks", "vision", 1, Looks())
    found.slots.place("whole", "vision", 1, LooksAtTheWhole())
    return found.eval()


@pytest.fixture(scope="module")
def batch(model: AnomalyModel) -> Batch:
    """Two images of noise of each class."""
    samples = tuple(Sample(Path("none"), name, label) for name in CLASSES for label in (0, 1))
    size, count = model.backbone.image_size, len(samples)
    labels = torch.tensor([sample.label for sample in samples])
    return Batch(torch.randn(count, 3, size, size), torch.zeros(count, 1, size, size), labels, samples)


@pytest.fixture(scope="module")
def few(batch: Batch) -> Batch:
    """One image of each of two classes."""
    return Batch(batch.images[::4], batch.masks[::4], batch.labels[::4], batch.samples[::4])


def pixels_of(model: AnomalyModel) -> Pixels:
    backbone = model.backbone
    return Pixels(backbone.image_size, backbone.image_mean, backbone.image_std)


def step(model: AnomalyModel, batch: Batch, tower: Trains, features: str = "frozen", learn: bool = False) -> Watch:
    """One step of a phase, the attention of both towers on; with `learn` its gradients are left in the parameters."""
    loss, table = Watch(tower), AugmentationTable()
    batches = TrainBatches(
        batch.samples, pixels_of(model), table, augment="none", batch_size=len(batch.samples), key=(0,)
    )
    losses, place = WeightedLosses({"watch": (loss, 1.0)}), ComputeDevice.choose("cpu", "fp32")
    phase = Phase(
        model=model, losses=losses, plan=plan_for(tower, features=features), batches=batches,
        compute_device=place, loop=1, attending=BOTH,
    )  # fmt: skip
    with phase.open(), torch.set_grad_enabled(learn):
        terms = phase.terms(batch, phase.fixed_inputs(batch))
        if learn:
            total(terms).backward()
    return loss


def table(marker: str) -> list[list[str]]:
    """Cells of the page's table between markers, without its head."""
    (part,) = re.findall(rf"<!-- begin {marker} -->\n(.*?)<!-- end {marker} -->", PAGE.read_text(), re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def sizes() -> dict[str, int]:
    return {letter: int(value) for letter, _, value in table("sizes")}


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.split(r" ?× ?", text))


def worked_out(general: str) -> tuple[int, ...]:
    """What a shape in letters, such as `[K·P, L, Dt]`, is with the page's sizes."""
    known, axes = sizes(), general.strip("`[]").split(",")
    return tuple(prod(known[part] if part in known else int(part) for part in axis.strip().split("·")) for axis in axes)


@contextmanager
def hooked(modules: dict[nn.Module, Callable[..., None]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shapes_of_steps(model: AnomalyModel, batch: Batch) -> dict[str, Tensor]:
    """The tensors of the page's steps, by its names: a step of each phase, and scoring."""
    backbone, head, book = model.backbone, head_of(model), text_of(model).book
    stages = {(name, block): stage for tower in BOTH for block, name, stage in model.slots.of(tower)}
    tokens, _ = book.select(tuple(CLASSES), model.device)
    found = {
        "images": batch.images,
        "patch embedding": backbone.embed_image(batch.images),
        "token numbers of all prompts": book.tokens,
        "token numbers that are walked": tokens,
        "text embedding": backbone.embed_text(tokens.flatten(0, 1)),
        "text context, images of `ceramic_tile` alone": model.text_contexts(("ceramic_tile",) * 8, True)["text"].tokens,
    }

    def text_phase_inputs(_: nn.Module, given: tuple[Any, ...], __: Tensor) -> None:
        found.update({"tokens at a text site, with image context": given[0], "image context": given[1].tokens})
        assert given[1].mask is None

    def seen_by_vision(_: nn.Module, given: tuple[Any, ...], __: Tensor) -> None:
        found.update({"tokens at a vision site": given[0], "text context": given[1].tokens})
        found["mask of the text context"] = given[1].mask

    def projected(_: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        found.update({"end-of-text features": given[0], "projected prompts": out})

    def unconditioned(_: nn.Module, given: tuple[Any, ...], __: Tensor) -> None:
        found["tokens at a text site, without image context"] = given[0]

    def read(_: nn.Module, given: tuple[Any, ...], __: Tensor) -> None:
        found["patch tokens of a level"] = given[0]

    with hooked({stages["text_to_image", 0]: text_phase_inputs, text_projection_of(model): projected}):
        found["text features"] = step(model, batch, "text").named["text_features"]
    with hooked({stages["image_to_text", 0]: seen_by_vision, stages["text_adapter", 0]: unconditioned}):
        made = step(model, batch, "vision").named
    found["level probabilities, training"] = made["level_probabilities"][2]
    found["detection logits, training"] = made["detection_logits"]
    with hooked({head.segmentation["2"]: read}):
        features = model.image_features(batch.images, batch.classes, True)
    class_text = model.text_features(batch.classes, None)
    scores = head.score(features, class_text, batch.images.shape[-1], "industrial", True)
    assert features.detection is not None
    found["patch features of a level"], found["detection feature"] = features.levels[2], features.detection
    found["similarity of a level"] = similarity_grid(features.levels[2], class_text)
    found["sum of the levels on the grid, scoring"], found["anomaly map, scoring"] = scores.grid, scores.maps
    return {**found, "image score": scores.detection}


def test_the_sizes_are_those_of_the_embedded_model(model: AnomalyModel, batch: Batch) -> None:
    backbone, book = model.backbone, text_of(model).book
    assert sizes() == {
        "B": len(batch.samples), "K": len(CLASSES), "S": backbone.image_size, "G": backbone.grid,
        "N": backbone.grid**2, "V": backbone.prefix_tokens + backbone.grid**2,
        "Dv": backbone.vision.width, "Dt": text_tower(backbone).width, "E": backbone.embedding_width,
        "T": backbone.context_length, "L": int(book.ends.max()) + 1, "P": book.tokens.shape[1],
    }  # fmt: skip
    assert f"{', '.join(map(str, model.levels))} here" in PAGE.read_text()
    assert backbone.surgery_start == backbone.vision.depth
    assert f"that is block {backbone.surgery_start}, its depth" in PAGE.read_text()


def test_each_shape_is_what_passes_through_the_engine(model: AnomalyModel, batch: Batch) -> None:
    with torch.no_grad():
        found = shapes_of_steps(model, batch)
    rows = table("shapes")
    assert {name: numbers(here) for name, _, here in rows} == {name: tuple(part.shape) for name, part in found.items()}
    for name, general, here in rows:
        assert worked_out(general) == numbers(here), name


def test_the_picture_has_the_shapes_of_the_page() -> None:
    known = {(general.strip("`").replace(" ", ""), numbers(here)) for _, general, here in table("shapes")}
    text = re.sub(r"</text>\s*<text[^>]*>(?==)", " ", PICTURE.read_text())
    shown = re.findall(r"(\[[^\]<]*\]) ?= ?([\d×]+)", text)
    assert len(shown) > 15 and len(shown) == text.count("[")
    assert {(general.replace(" ", ""), numbers(here)) for general, here in shown} <= known


def test_the_stages_that_act_are_those_of_the_page(model: AnomalyModel, few: Batch, tmp_path: Path) -> None:
    sample = Sample(tmp_path / "grey.png", "canvas", 0)
    Image.new("RGB", (40, 40), "grey").save(sample.image)
    place, pixels = ComputeDevice.choose("cpu", "fp32"), pixels_of(model)
    evaluator = Evaluator(model, place, pixels, table=EvaluationTable(), switches=model.switches)
    conditioned = replace(evaluator, table=EvaluationTable(text_conditioning="image"))

    def scored(by: Evaluator, trained: bool = True) -> Any:
        return list(by.scored_batches(DataSet((sample,), CLASSES), "canvas", BOTH, trained))

    passes: dict[str, Callable[[], Any]] = {
        "text phase, frozen features": lambda: step(model, few, "text"),
        "text phase, trained features": lambda: step(model, few, "text", "trained"),
        "vision phase": lambda: step(model, few, "vision"),
        "phase of both": lambda: step(model, few, "both"),
        "scoring": lambda: scored(evaluator),
        "scoring, text conditioned on the image": lambda: scored(conditioned),
        "scoring before training": lambda: scored(evaluator, trained=False),
    }
    acted: set[tuple[str, str]] = set()
    watched: dict[nn.Module, Callable[..., None]] = {
        stage: lambda *_, kind=(tower, stage.context_kind): acted.add(kind)
        for tower in BOTH
        for _, _, stage in model.slots.of(tower)
    }
    found = []
    for name, run in passes.items():
        acted.clear()
        with hooked(watched):
            run()
        found.append([name, *("yes" if kind in acted else "no" for kind in KINDS)])
    assert found == table("acts")


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_phase_trains_its_own_tower_and_no_gradient_crosses(
    model: AnomalyModel, few: Batch, tower: TowerName
) -> None:
    contexts: list[Tensor] = []
    watched: dict[nn.Module, Callable[..., None]] = {
        stage: lambda _, given, __: contexts.append(given[1].tokens)
        for _, _, stage in model.slots.of(tower)
        if stage.context_kind != "none"
    }
    with hooked(watched):
        step(model, few, tower, "trained", learn=True)
    learnt = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    assert learnt == names_in_modules(model, tower)
    assert contexts and not any(context.requires_grad for context in contexts)


def test_links_lead_somewhere() -> None:
    text = PAGE.read_text()
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    assert len(targets) >= 4
    for target in targets:
        assert (PAGE.parent / target).exists(), target
