"""What the checks of prompts and heads share: the tiny backbone, noise on weights, and comparisons."""

from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ..contracts.backbone import Backbone
from ..distributed.random_streams import drawn_for
from .subject import Breach, Subject
from .tiny import write_model

STEPS, LEARNING_RATE = 4, 1e-2
NEAR, NEAR_LOADED = 1e-4, 1e-5
HALF_TOLERANCE = 0.05
"""Bfloat16 keeps 8 bits: one rounding is 0.4 %, and a walk has several."""


def tiny_backbone(subject: Subject) -> Backbone:
    """Build the tiny experiment's backbone, frozen, with the same random weights each time."""
    component = subject.registry.get("backbone", "open_clip")
    with TemporaryDirectory(prefix="aakit-") as folder, drawn_for("tiny backbone"):
        write_model(Path(folder))
        backbone: Backbone = component.build(component.options.model_validate({"model": folder, "pretrained": "none"}))
    return backbone.requires_grad_(False).eval()


def draw(*shape: int, seed: int = 2) -> Tensor:
    """Draw normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stir(module: nn.Module) -> None:
    """Add noise to every parameter: what begins at zero would hide faults."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def is_tensor(said: str, value: object, shape: tuple[int, ...]) -> None:
    """Raise `Breach` for what is no finite tensor of floating-point numbers of this shape."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise Breach(f"{said} gave {type(value).__name__}, not a floating-point tensor")
    if tuple(value.shape) != shape:
        raise Breach(f"{said} gave {list(value.shape)} in place of {list(shape)}")
    if not value.isfinite().all():
        raise Breach(f"{said} gave numbers that are not finite")


def must_agree(one: Tensor, other: Tensor, said: str, tolerance: float = NEAR) -> None:
    """Raise `Breach` where two results are further apart than the tolerance, relative to values above 1."""
    difference = float((one.float() - other.float()).abs().max())
    difference = difference if isfinite(difference) else inf
    if difference > tolerance * max(1.0, float(other.float().abs().max())):
        raise Breach(f"{said} by {difference:.2g}")


def must_be_near_in_half(rough: Tensor, exact: Tensor, said: str) -> None:
    """Raise `Breach` where a result in bfloat16 is not finite, or off by more than 5 % of its norm."""
    if not rough.isfinite().all():
        raise Breach(f"under bf16 autocast {said} is not finite")
    error = float(torch.linalg.vector_norm(rough.float() - exact) / torch.linalg.vector_norm(exact))
    if error > HALF_TOLERANCE:
        raise Breach(f"under bf16 autocast {said} is off by {100 * error:.1f} % of its norm")


def same_weights(one: nn.Module, other: nn.Module) -> None:
    """Raise `Breach` where two builds under one seed differ."""
    for (name, here), there in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        if not torch.equal(here, there):
            raise Breach(f"two builds under one seed differ in {name}")


def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """Copy what a checkpoint holds."""
    learnt = dict(source.named_parameters())
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            parameter.copy_(learnt[name])


class Learning:
    """A few steps of Adam on all parameters of a module; knows which of them a gradient has not reached yet."""

    def __init__(self, module: nn.Module) -> None:
        self.named = dict(module.requires_grad_(True).named_parameters())
        self.waiting = set(self.named)
        self.optimizer = torch.optim.Adam(self.named.values(), lr=LEARNING_RATE) if self.named else None

    def step(self, objective: Tensor) -> None:
        """Take a step. Raises `Breach` for a gradient that is not finite."""
        if self.optimizer is None or not objective.requires_grad:
            return
        self.optimizer.zero_grad()
        objective.backward()
        for name, parameter in self.named.items():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise Breach(f"the gradient of {name} is not finite")
            if parameter.grad is not None and parameter.grad.any():
                self.waiting.discard(name)
        self.optimizer.step()

    def must_have_reached_all(self) -> None:
        """Raise `Breach` where there are parameters that no gradient has reached."""
        if self.waiting:
            raise Breach(f"in {STEPS} steps no gradient reached {', '.join(sorted(self.waiting))}")


def backbone_is_apart(backbone: Backbone, before: dict[str, Tensor], module: nn.Module) -> None:
    """Raise `Breach` where the backbone is part of a module, or is not as it was."""
    shared = {id(parameter) for parameter in backbone.parameters()}
    if any(id(parameter) in shared for parameter in module.parameters()):
        raise Breach("the backbone's weights are among its parameters, and would be trained and stored with them")
    for name, value in backbone.state_dict().items():
        if not torch.equal(value, before[name]):
            raise Breach(f"the backbone's {name} was changed")
    if any(parameter.requires_grad for parameter in backbone.parameters()):
        raise Breach("the backbone's weights take gradients")
