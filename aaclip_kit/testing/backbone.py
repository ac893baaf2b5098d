"""The checks of a backbone: what it says of its sizes, its tokenizer, the walk through both towers, its weights."""

from collections.abc import Iterator
from math import inf, isfinite, isnan
from typing import Any, get_args

import torch
from torch import Tensor

from ..contracts.backbone import Backbone, Surgery, Tower, text_tower
from ..contracts.errors import UserError
from ..contracts.options import BackboneOptions
from .subject import Breach, NotApplicable, Subject
from .trial import run_tiny

PROMPTS = ("a cloth.", "a photo of a damaged metal nut.")
NEAR = 1e-4
MODES: tuple[Surgery, ...] = get_args(Surgery)


def build_backbone(subject: Subject, seed: int = 0) -> Backbone:
    """Build the backbone, frozen and in evaluation mode, as the engine holds it."""
    torch.manual_seed(seed)
    backbone: Backbone = subject.make(Backbone)
    return backbone.requires_grad_(False).eval()


def with_text(subject: Subject) -> Backbone:
    """Build the backbone for a check of its text. Raises `NotApplicable` where it has none."""
    backbone = build_backbone(subject)
    if backbone.text is None:
        raise NotApplicable("the backbone has no text tower")
    return backbone


def images(backbone: Backbone, count: int = 3, seed: int = 1) -> Tensor:
    """Draw random images as normalised ones are: `[B, 3, S, S]`."""
    size = backbone.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def walk_vision(backbone: Backbone, pictures: Tensor, surgery: Surgery = "none") -> Tensor:
    """Walk images through the vision tower: normed tokens, without gradients."""
    return backbone.finish_vision(vision_blocks(backbone, backbone.embed_image(pictures), surgery))


def vision_blocks(backbone: Backbone, tokens: Tensor, surgery: Surgery = "none") -> Tensor:
    """Send tokens through every vision block, with surgery from `surgery_start` on."""
    for block in range(backbone.vision.depth):
        mode: Surgery = surgery if block >= backbone.surgery_start else "none"
        tokens = backbone.vision_block(block, tokens, mode)
    return tokens


@torch.no_grad()
def walk_text(backbone: Backbone, numbers: Tensor) -> Tensor:
    """Walk prompts through the text tower: tokens after the last block, without gradients."""
    return text_blocks(backbone, backbone.embed_text(numbers))


def text_blocks(backbone: Backbone, tokens: Tensor) -> Tensor:
    """Send tokens through every text block."""
    for block in range(text_tower(backbone).depth):
        tokens = backbone.text_block(block, tokens)
    return tokens


def apart(one: Tensor, other: Tensor) -> float:
    """Measure the largest difference, as a part of the largest value; infinite where something is not finite."""
    difference = float((one.float() - other.float()).abs().max() / other.float().abs().max().clamp(min=1e-6))
    return inf if isnan(difference) else difference


def must_be_near(one: Tensor, other: Tensor, said: str) -> None:
    """Raise `Breach` where two results are more than rounding apart."""
    if (difference := apart(one, other)) > NEAR:
        raise Breach(f"{said} by {difference:.2g} of the largest value")


def says_its_sizes(subject: Subject) -> None:
    """Every attribute is there and is plain."""
    backbone = build_backbone(subject)
    if missing := [name for name in Backbone.__annotations__ if not hasattr(backbone, name)]:
        raise Breach(f"it does not say {', '.join(missing)}")
    options = subject.component.options
    said_to_have = not issubclass(options, BackboneOptions) or options.has_text
    if said_to_have != (backbone.text is not None):
        raise Breach(
            f"text is {backbone.text!r}, where its options say that it has {'one' if said_to_have else 'none'}"
        )
    for said, wrong in _faults(backbone):
        if wrong:
            raise Breach(said)


def _faults(backbone: Backbone) -> Iterator[tuple[str, bool]]:
    sizes = ["embedding_width", "image_size", "grid", "prefix_tokens"]
    towers = ["vision"]
    if backbone.text is not None:
        sizes, towers = [*sizes, "context_length"], [*towers, "text"]
    for name in towers:
        tower = getattr(backbone, name)
        good = isinstance(tower, Tower) and min(tower.width, tower.depth, tower.heads) > 0
        yield f"{name} is {tower!r}, which is no Tower of sizes above 0", not good
    for name in sizes:
        value = getattr(backbone, name)
        yield f"{name} is {value!r}, which is no size", not (isinstance(value, int) and value > 0)
    for name in ("image_mean", "image_std"):
        values = getattr(backbone, name)
        yield f"{name} is {values!r}, not three finite numbers", not _are_numbers(values)
        yield f"image_std is {values!r}", name == "image_std" and min(values) <= 0
    start, depth = backbone.surgery_start, backbone.vision.depth
    within = isinstance(start, int) and 0 <= start <= depth
    yield f"surgery_start is {start!r} in a tower of {depth} blocks", not within


@torch.no_grad()
def walk_gives_those_sizes(subject: Subject) -> None:
    """Walk two images, and two prompts where there is a text tower."""
    backbone = build_backbone(subject)
    joint, visible = backbone.embedding_width, backbone.prefix_tokens + backbone.grid**2
    tokens = walk_vision(backbone, images(backbone, 2))
    _same("the vision tower", tokens, (2, visible, backbone.vision.width))
    _same("project_image", backbone.project_image(tokens), (2, visible, joint))
    features = backbone.rule_features(images(backbone, 2))
    _same("rule_features", features, (2, backbone.grid**2, features.shape[-1]))
    if backbone.text is None:
        return
    numbers = backbone.tokenize(PROMPTS)
    _same("tokenize", numbers, (2, backbone.context_length))
    walked = walk_text(backbone, numbers)
    _same("the text tower", walked, (2, backbone.context_length, backbone.text.width))
    finished = backbone.finish_text(walked, backbone.end_of_text(numbers))
    _same("finish_text", finished, (2, backbone.text.width))
    _same("project_text", backbone.project_text(finished), (2, joint))


def _same(said: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise Breach(f"{said} gives {list(tensor.shape)}, where the sizes say {list(shape)}")


def _are_numbers(values: Any) -> bool:
    numbers = isinstance(values, tuple | list) and len(values) == 3
    return numbers and all(isinstance(value, float | int) and isfinite(value) for value in values)


def tokenizer_pads_with_zeros(subject: Subject) -> None:
    """Two prompts of different lengths, and one that is too long."""
    backbone = with_text(subject)
    numbers, ends = backbone.tokenize(PROMPTS), backbone.end_of_text(backbone.tokenize(PROMPTS))
    if numbers.is_floating_point():
        raise Breach(f"tokenize gives numbers of type {numbers.dtype}")
    if torch.equal(*numbers):
        raise Breach("two different prompts have the same tokens")
    for prompt, row, end in zip(PROMPTS, numbers, ends.tolist(), strict=True):
        if not 0 < end < len(row):
            raise Breach(f'end_of_text gives {end} for "{prompt}"')
        if row[end + 1 :].any() or not row[: end + 1].any():
            raise Breach(f'"{prompt}" has tokens other than 0 after its end-of-text token, at {end}')
        if row[end] == 0:
            raise Breach(f'end_of_text gives {end} for "{prompt}", where there is padding')
    # Every word is one token at least.
    prompt = " ".join(["cloth"] * (backbone.context_length + 1))
    try:
        backbone.tokenize([prompt])
    except UserError:
        return
    except Exception as error:
        raise Breach(f"a prompt that is too long raised {type(error).__name__}, not UserError: {error}") from error
    raise Breach(f"a prompt of {backbone.context_length + 1} words was accepted")


def text_is_causal(subject: Subject) -> None:
    """Cut after the last end-of-text token; replace a later token; leave a prompt out."""
    backbone = with_text(subject)
    numbers = backbone.tokenize(PROMPTS)
    ends = backbone.end_of_text(numbers)
    whole = walk_text(backbone, numbers)
    length = int(ends.max()) + 1
    cut = walk_text(backbone, numbers[:, :length])
    must_be_near(cut, whole[:, :length], f"cut after {length} tokens, their features change")
    other = numbers.clone()
    middle = int(ends.min()) - 1
    other[:, middle] = numbers[:, 0]
    before = walk_text(backbone, other)[:, :middle]
    must_be_near(before, whole[:, :middle], f"with another token {middle}, those before it change")
    must_be_near(walk_text(backbone, numbers[:1]), whole[:1], "without the second prompt, the first changes")


def images_are_independent(subject: Subject) -> None:
    """Replace the other images, and leave them out."""
    backbone = build_backbone(subject)
    pictures, others = images(backbone), images(backbone, seed=2)
    replaced = torch.cat([pictures[:1], others[1:]])
    for mode in MODES[:2]:  # "batch" looks across images
        first = walk_vision(backbone, pictures, mode)[:1]
        for said, given in (("others in their place", replaced), ("the others left out", pictures[:1])):
            alone = walk_vision(backbone, given, mode)[:1]
            must_be_near(alone, first, f"with surgery '{mode}' and {said}, image 0 changes")


def surgery_acts(subject: Subject) -> None:
    """Run each mode; they differ from one another where the tower has blocks of surgery."""
    backbone = build_backbone(subject)
    pictures = images(backbone)
    walked = {mode: walk_vision(backbone, pictures, mode) for mode in MODES}
    for mode, tokens in walked.items():
        if tokens.shape != walked["none"].shape:
            raise Breach(f"surgery '{mode}' gives {list(tokens.shape)}, '{MODES[0]}' {list(walked['none'].shape)}")
        if not tokens.isfinite().all():
            raise Breach(f"with surgery '{mode}' the tokens are not finite")
    if backbone.surgery_start == backbone.vision.depth:
        return
    pairs: tuple[tuple[Surgery, Surgery], ...] = (("tokens", "none"), ("batch", "none"), ("batch", "tokens"))
    for one, other in pairs:
        if apart(walked[one], walked[other]) <= NEAR:
            raise Breach(f"surgery '{one}' gives the same as '{other}'")


@torch.no_grad()
def frozen_features_repeat(subject: Subject) -> None:
    """Twice, under two seeds."""
    backbone = build_backbone(subject)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(_features(backbone))
    for name, one in made[0].items():
        if not one.isfinite().all():
            raise Breach(f"{name} features are not finite")
        if apart(one, made[1][name]) > NEAR:
            raise Breach(f"{name} features under two torch seeds differ")


def _features(backbone: Backbone) -> dict[str, Tensor]:
    """Image features, and text features where there is a text tower."""
    features = {"image": backbone.project_image(walk_vision(backbone, images(backbone)))}
    if backbone.text is not None:
        numbers = backbone.tokenize(PROMPTS)
        words = backbone.finish_text(walk_text(backbone, numbers), backbone.end_of_text(numbers))
        features["text"] = backbone.project_text(words)
    return features


@torch.no_grad()
def weights_are_all(subject: Subject) -> None:
    """Change every weight, load the state into a backbone built under another seed, and compare."""
    one, other = build_backbone(subject, seed=3), build_backbone(subject, seed=4)
    generator = torch.Generator().manual_seed(5)
    for parameter in one.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.01)
    other.load_state_dict(one.state_dict())
    expected = _features(one)
    for name, features in _features(other).items():
        must_be_near(features, expected[name], f"after the state dict was loaded, {name} features differ")


def gradients_pass_through(subject: Subject) -> None:
    """From the end of each tower to the input of its block 0."""
    backbone = build_backbone(subject)
    tokens = backbone.embed_image(images(backbone, 2)).detach().requires_grad_()
    walked = vision_blocks(backbone, tokens)
    _reaches("vision", backbone.project_image(backbone.finish_vision(walked)), tokens)
    if backbone.text is None:
        return
    numbers = backbone.tokenize(PROMPTS)
    words = backbone.embed_text(numbers).detach().requires_grad_()
    walked = text_blocks(backbone, words)
    _reaches("text", backbone.project_text(backbone.finish_text(walked, backbone.end_of_text(numbers))), words)


def _reaches(tower: str, features: Tensor, tokens: Tensor) -> None:
    if features.requires_grad:
        features.square().sum().backward()
    if tokens.grad is None or not tokens.grad.any():
        raise Breach(f"no gradient comes through the {tower} tower")
    if not tokens.grad.isfinite().all():
        raise Breach(f"the gradient that comes through the {tower} tower is not finite")


def serves_a_run(subject: Subject) -> None:
    """Adapters and cross-attention, two steps in each phase; every stage learns, the backbone does not."""
    with_text(subject)
    stages: dict[str, dict[str, Any]] = {
        "text_to_image": {"use": "text_to_image", "heads": 1},
        "image_to_text": {"use": "image_to_text", "heads": 1},
        "text_adapter": {"use": "residual_adapter", "tower": "text", "after": [0]},
        "vision_adapter": {"use": "residual_adapter", "tower": "vision", "after": [0]},
    }
    with run_tiny(subject, backbone=subject.chosen, stages=stages) as trial:
        for name in stages:
            if not any(change for key, change in trial.changes.items() if key.startswith(f"sites.stages.{name}.")):
                raise Breach(f"two steps of training changed no weight of the stage {name}")
        after = trial.run.model.backbone.state_dict()
        if moved := [name for name, value in trial.backbone.items() if not after[name].equal(value)]:
            raise Breach(f"the run changed weights of the backbone: {', '.join(moved[:3])}")
