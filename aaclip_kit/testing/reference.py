"""The checks of a reference: what it says of itself, banks, answers and combined scores, and a run with it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import safetensors.torch
import torch
from torch import Tensor

from ..contracts.backbone import Backbone
from ..contracts.head import ImageTokens, Reads, Scores
from ..contracts.reference import Answer, Bank, NormalScores, Reference, ReferenceSetting
from ..experiment import load
from ..inference.load_model import load_model
from ..model.image_tower import ImageSide, parts_of, tokens_of
from ..model.stage_slots import StageSlots
from ..plugin_host.discovery import discover
from ..record.run_folder import RunFolder
from ..run.assemble import assemble
from ..run.loop import execute
from .parts import backbone_is_apart, draw, is_tensor, must_agree, must_be_near_in_half, tiny_backbone
from .subject import Breach, Subject
from .tiny import draw_class, tiny_experiment
from .trial import Unwatched

LEVELS: Final = (2, 3, 4)
NORMAL, ASKED = 3, 2
"""Images of a bank, and of a batch that it is asked for."""

PLAIN: Final = NormalScores(grid_mean=0.4, grid_deviation=0.1, image_mean=0.5, image_deviation=0.05)
SAME: Final = 1e-5


@dataclass(frozen=True)
class Built:
    """A reference, the backbone that it was built for, and what is read of that."""

    reference: Reference
    backbone: Backbone

    def tokens(self, images: int = 1, seed: int = 2, scale: float = 1.0) -> ImageTokens:
        """Read drawn images as the reference says."""
        size = self.backbone.image_size
        pictures = scale * draw(images, 3, size, size, seed=seed)
        side = ImageSide(self.backbone, StageSlots(), LEVELS, "tokens")
        return side.untouched(pictures, self.reference.reads, self.reference.levels)

    def normal(self) -> list[ImageTokens]:
        """Read the images of a bank, one by one."""
        return [self.tokens(seed=10 + number) for number in range(NORMAL)]

    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Bank:
        """Fill a bank. Raises `Breach` for what is none."""
        filled = self.reference.fill(images, bank)
        if not isinstance(filled, dict) or not filled or not all(isinstance(one, Tensor) for one in filled.values()):
            raise Breach(f"fill gave {type(filled).__name__}, no dict of tensors")
        for name, one in filled.items():
            if one.is_floating_point() and not one.isfinite().all():
                raise Breach(f"fill gave numbers that are not finite in {name!r}")
        return filled

    def answer(self, bank: Bank, tokens: ImageTokens, images: int) -> Answer:
        """Answer. Raises `Breach` for what is no answer."""
        given = self.reference.answer(bank, tokens)
        if not isinstance(given, Answer):
            raise Breach(f"answer gave {type(given).__name__}, no Answer")
        grid = self.backbone.grid
        for said, value, shape in (
            ("grid", given.grid, (images, grid, grid)),
            ("detection", given.detection, (images,)),
        ):
            is_tensor(f"the {said} of answer", value, shape)
            if value.dtype != torch.float32 or (value < 0).any():
                raise Breach(f"the {said} of answer is {value.dtype} from {float(value.min()):.3g} on")
        return given

    def scores(self) -> Scores:
        """Draw what a head may say of a batch."""
        grid, size = self.backbone.grid, self.backbone.image_size
        return Scores(draw(ASKED, grid, grid), draw(ASKED, size, size, seed=3), draw(ASKED, seed=4))

    def combine(self, answer: Answer, bank: Bank, smooth: bool = True) -> Scores:
        """Combine with drawn scores. Raises `Breach` for what are no Scores in float32."""
        combined = self.reference.combine(self.scores(), answer, bank=bank, normal=PLAIN, smooth=smooth)
        if not isinstance(combined, Scores):
            raise Breach(f"combine gave {type(combined).__name__}, no Scores")
        for said, before in vars(self.scores()).items():
            value = getattr(combined, said)
            is_tensor(f"the {said} of combine", value, tuple(before.shape))
            if value.dtype != torch.float32:
                raise Breach(f"the {said} of combine is {value.dtype}, not float32")
        return combined


def build_reference(subject: Subject) -> Built:
    """Build the reference for a tiny backbone, and see that what it reads can be read."""
    backbone = tiny_backbone(subject)
    reference: Reference = subject.make(Reference, ReferenceSetting(backbone=backbone, levels=LEVELS))
    if not isinstance(getattr(reference, "reads", None), Reads):
        raise Breach(f"its reads are {getattr(reference, 'reads', None)!r}, which are no Reads")
    levels = getattr(reference, "levels", None)
    if not isinstance(levels, tuple) or not levels or list(levels) != sorted({*levels}) or levels[0] < 1:
        raise Breach(f"its levels are {levels!r}, no ascending numbers from 1 on")
    return Built(reference.eval(), backbone)


def says_what_it_reads(subject: Subject) -> None:
    """Its attributes, without a call."""
    reference = build_reference(subject).reference
    if own := [name for name, _ in reference.named_parameters()]:
        raise Breach(f"it has parameters, which nothing trains and no checkpoint holds: {', '.join(own)}")
    try:
        json.dumps(dict(reference.bank_depends_on), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Breach(f"its bank_depends_on is no plain data: {error}") from None


@torch.no_grad()
def fills_a_bank(subject: Subject) -> None:
    """Of one image, and of several."""
    built = build_reference(subject)
    for images in (built.normal()[:1], built.normal()):
        safetensors.torch.save({name: one.contiguous() for name, one in built.fill(images).items()})


@torch.no_grad()
def order_does_not_matter(subject: Subject) -> None:
    """Reverse the images, join them to a batch, and add some later."""
    built = build_reference(subject)
    first, *others = images = built.normal()
    bank = built.fill(images)
    every = [parts_of(one) for one in images]
    joined = tokens_of({name: torch.cat([one[name] for one in every]) for name in every[0]}, tuple(first.levels))
    for said, other in (
        ("in another order", built.fill(reversed(images))),
        ("in one batch", built.fill([joined])),
        ("added to a bank of one", built.fill(others, built.fill([first]))),
    ):
        if bank.keys() != other.keys() or any(not torch.equal(one, other[name]) for name, one in bank.items()):
            raise Breach(f"the same images {said} give another bank")


@torch.no_grad()
def gives_answers(subject: Subject) -> None:
    """To one image and two, by a bank of one image and of several."""
    built = build_reference(subject)
    for normal in (built.normal()[:1], built.normal()):
        bank = built.fill(normal)
        for images in (1, ASKED):
            built.answer(bank, built.tokens(images), images)


@torch.no_grad()
def remembers(subject: Subject) -> None:
    """Ask for an image of the bank, and for another."""
    built = build_reference(subject)
    normal = built.normal()
    bank = built.fill(normal)
    own, other = (built.answer(bank, tokens, 1) for tokens in (normal[0], built.tokens(seed=77, scale=3.0)))
    for said, near, far in (("grid", own.grid, other.grid), ("detection", own.detection, other.detection)):
        if not float(near.mean()) < float(far.mean()):
            numbers = f"{float(near.mean()):.3g} to {float(far.mean()):.3g}"
            raise Breach(f"an image of the bank is no nearer than another, in the {said}: {numbers}")


@torch.no_grad()
def images_are_independent(subject: Subject) -> None:
    """Replace the other image, and leave it out."""
    built = build_reference(subject)
    bank, both = built.fill(built.normal()), parts_of(built.tokens(ASKED))
    others, at = parts_of(built.tokens(ASKED, seed=20, scale=3.0)), built.reference.levels
    first = built.answer(bank, tokens_of(both, at), ASKED)
    beside = {name: torch.cat([one[:1], others[name][1:]]) for name, one in both.items()}
    alone = {name: one[:1] for name, one in both.items()}
    for said, parts, count in (("with another image beside it", beside, ASKED), ("alone", alone, 1)):
        found = built.answer(bank, tokens_of(parts, at), count)
        for name in ("grid", "detection"):
            must_agree(getattr(found, name)[0], getattr(first, name)[0], f"{said}, an image's {name} changed")


@torch.no_grad()
def combines(subject: Subject) -> None:
    """Smoothed or not, with one answer and another."""
    built = build_reference(subject)
    bank = built.fill(built.normal())
    near, far = (built.answer(bank, built.tokens(ASKED, scale=scale), ASKED) for scale in (1.0, 3.0))
    for smooth in (True, False):
        one, other = (built.combine(answer, bank, smooth) for answer in (near, far))
        for said in vars(one):
            if torch.equal(getattr(one, said), getattr(other, said)):
                raise Breach(f"another answer changes nothing of the {said} of combine")


@torch.no_grad()
def changes_nothing_in_place(subject: Subject) -> None:
    """Compare tokens, banks, scores and answers with copies."""
    built = build_reference(subject)
    normal, asked, scores = parts_of(built.tokens(NORMAL)), parts_of(built.tokens(ASKED)), built.scores()
    bank = built.fill([tokens_of(normal, built.reference.levels)])
    answer = built.answer(bank, tokens_of(asked, built.reference.levels), ASKED)
    given = {**_named("tokens", normal), **_named("tokens asked for", asked), **_named("bank", bank)}
    given |= {**_named("scores", vars(scores)), "grid of the answer": answer.grid}
    before = {name: value.clone() for name, value in given.items()}
    built.fill([tokens_of(normal, built.reference.levels)])
    built.fill([built.tokens(seed=30)], bank)
    built.answer(bank, tokens_of(asked, built.reference.levels), ASKED)
    built.reference.combine(scores, answer, bank=bank, normal=PLAIN, smooth=True)
    if changed := [name for name, value in given.items() if not torch.equal(value, before[name])]:
        raise Breach(f"what it was given was changed: {', '.join(changed)}")


def _named(said: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name} of the {said}": value for name, value in tensors.items()}


@torch.no_grad()
def draws_nothing(subject: Subject) -> None:
    """Fill and answer under two seeds."""
    built, found = build_reference(subject), []
    for seed in (7, 8):
        torch.manual_seed(seed)
        bank = built.fill(built.normal())
        answer = built.answer(bank, built.tokens(ASKED), ASKED)
        found.append({**bank, "grid": answer.grid, "maps": built.combine(answer, bank).maps})
    for name, value in found[0].items():
        must_agree(found[1][name], value, f"the {name} under two torch seeds differ")


@torch.no_grad()
def bank_holds_all(subject: Subject) -> None:
    """Write a bank, read it, and ask one that is built anew."""
    built, other = build_reference(subject), build_reference(subject)
    bank = built.fill(built.normal())
    read = safetensors.torch.load(safetensors.torch.save({name: one.contiguous() for name, one in bank.items()}))
    tokens = built.tokens(ASKED)
    own, found = built.answer(bank, tokens, ASKED), other.answer(read, tokens, ASKED)
    must_agree(found.grid, own.grid, "answers by a bank from a file differ")
    must_agree(other.combine(found, read).maps, built.combine(own, bank).maps, "maps by a bank from a file differ")


@torch.no_grad()
def backbone_stays_as_it_is(subject: Subject) -> None:
    """Fill and answer."""
    built = build_reference(subject)
    before = {name: value.clone() for name, value in tiny_backbone(subject).state_dict().items()}
    built.answer(built.fill(built.normal()), built.tokens(ASKED), ASKED)
    backbone_is_apart(built.backbone, before, built.reference)


@torch.no_grad()
def bf16_is_near(subject: Subject) -> None:
    """Fill and answer under autocast, from tokens in bfloat16."""
    built = build_reference(subject)
    asked = built.tokens(ASKED, seed=77, scale=3.0)
    exact = built.answer(built.fill(built.normal()), asked, ASKED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bank = built.fill(_half(one) for one in built.normal())
        rough = built.answer(bank, _half(asked), ASKED)
    must_be_near_in_half(rough.grid, exact.grid, "the grid of answer")
    must_be_near_in_half(rough.detection, exact.detection, "the detection of answer")


def _half(tokens: ImageTokens) -> ImageTokens:
    return tokens_of({name: one.bfloat16() for name, one in parts_of(tokens).items()}, tuple(tokens.levels))


def serves_a_run(subject: Subject) -> None:
    """Run the tiny experiment with it, and score the test images again from the run's folder."""
    with TemporaryDirectory(prefix="aakit-") as name:
        folder = Path(name)
        draw_class(folder / "normal" / "green_wood", channel=1, seed=9)
        reference = {"use": "folder", "root": str(folder / "normal")}
        tables = {"calibration": {"held_out": 0.0}, "evaluation": {"heatmaps": 0}, "reference": subject.chosen}
        own = {} if subject.plugin_file is None else {"plugins": [str(subject.plugin_file)]}
        file = tiny_experiment(folder, more_data={"reference": reference}, **tables, **own)
        run = assemble(load(file, discover()))
        metrics = execute(run, RunFolder.create(folder / "run"), Unwatched())
        named = file if own else None  # a model runs the plugin files of an experiment that is named
        found = load_model(folder / "run", experiment=named, device="cpu").metrics(run.data.sets["test"])
    for metric, value in metrics["loops"][0]["mean"].items():
        again = found["mean"][metric]
        if (value is None) != (again is None) or (value is not None and abs(value - again) > SAME):
            raise Breach(f"the run has {metric} {value}, and the model loaded from its folder {again}")
