"""Weights and gradients."""

from __future__ import annotations

import torch

from ..check import Found
from ..subject import Subject
from .given import NEAR, PROMPTS, apart, build, images, walk_text, walk_vision


def weights_are_all(subject: Subject) -> None:
    """Change every weight, load the state into a backbone built under another seed, and compare."""
    one, other = build(subject, seed=3), build(subject, seed=4)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.01)
    other.load_state_dict(one.state_dict())
    pictures, numbers = images(one), one.tokenize(PROMPTS)
    for name, walk, given in (("image", walk_vision, pictures), ("text", walk_text, numbers)):
        if (difference := apart(walk(other, given), walk(one, given))) > NEAR:
            raise Found(f"{name} features differ by {difference:.2g} of the largest after the state dict was loaded")


def gradients_pass_through(subject: Subject) -> None:
    """From the end of each tower to the input of its block 0."""
    backbone = build(subject)
    numbers = backbone.tokenize(PROMPTS)
    tokens = backbone.embed_image(images(backbone, 2)).detach().requires_grad_()
    walked = tokens
    for block in range(backbone.vision.depth):
        walked = backbone.vision_block(block, walked)
    _reaches("vision", backbone.project_image(backbone.finish_vision(walked)), tokens)
    words = backbone.embed_text(numbers).detach().requires_grad_()
    walked = words
    for block in range(backbone.text.depth):
        walked = backbone.text_block(block, walked)
    _reaches("text", backbone.project_text(backbone.finish_text(walked, backbone.end_of_text(numbers))), words)


def _reaches(tower: str, features: torch.Tensor, tokens: torch.Tensor) -> None:
    if features.requires_grad:
        features.square().sum().backward()
    if tokens.grad is None or not tokens.grad.any():
        raise Found(f"no gradient comes through the {tower} tower")
    if not tokens.grad.isfinite().all():
        raise Found(f"the gradient that comes through the {tower} tower is not finite")
