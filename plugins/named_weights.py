"""Weights by name: reading them from a file, and putting them into a model that they fit."""

import logging
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from aaclip_kit import UserError, read_weights

_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
"""What DataParallel, DistributedDataParallel and `torch.compile` put before a name."""

_SHOWN = 4


def named_weights(file: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a file by name, those of a table "state_dict" where it has one; `what` is the state dict needed.

    Raises `UserError` for a damaged file, one that holds more than weights, or numbers that are no weights.
    """
    content = read_weights(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError("holds no weights by name", where=str(file), fix=f"give {what}")
    named = {_WRAPPERS.sub("", str(key)): value for key, value in content.items()}
    if len(named) < len(content):
        raise UserError("holds a tensor twice, as it is and wrapped", where=str(file), fix="give it once")
    return {key: value for key, value in named.items() if isinstance(value, Tensor)}


def check_numbers(weights: dict[str, Tensor], file: Path) -> None:
    """Raise `UserError` for the first tensor of a file that holds no finite weights."""
    for key, value in weights.items():
        if not (value.is_floating_point() and value.layout == torch.strided and value.device.type == "cpu"):
            problem = f"{key} is no tensor of weights: it is {value.dtype}, {value.layout}, on {value.device}"
            raise UserError(problem, where=str(file), fix="give weights in 16 or 32 bits")
        if not torch.isfinite(value).all():
            fix = "fetch the file again, or give other weights"
            raise UserError(f"{key} holds numbers that are not finite", where=str(file), fix=fix)


def put_into(model: nn.Module, weights: dict[str, Tensor], file: Path, unused: Collection[str] = ()) -> None:
    """Copy the weights of a file into a model, but for `unused` names of its state dict.

    Raises `UserError` where names or shapes differ, and then copies nothing.
    """
    if found := differences(model, weights, unused):
        raise misfit(file, found)
    model.load_state_dict(weights, strict=False)


def misfit(file: Path, found: list[str]) -> UserError:
    """What to tell the user of a file that is for another model, and how it differs."""
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    problem = f"does not fit the model: {'; '.join(found[:_SHOWN])}{more}"
    fix = "set backbone.model to the model that the file was made for, or give another file"
    return UserError(problem, where=str(file), fix=fix)


def differences(model: nn.Module, weights: dict[str, Tensor], unused: Collection[str] = ()) -> list[str]:
    """Shapes that are others than the model's, names that it has and the weights have not, and the other way round."""
    wanted = {key: list(value.shape) for key, value in model.state_dict().items() if key not in unused}
    given = {key: list(value.shape) for key, value in weights.items()}
    missing = [f"{key} is missing" for key in wanted if key not in given]
    unknown = [f"{key} is unknown" for key in given if key not in wanted]
    shared = [(key, given[key], shape) for key, shape in wanted.items() if key in given]
    shapes = [f"{key} is {own} where {shape} is needed" for key, own, shape in shared if own != shape]
    return shapes + missing + unknown


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log records below errors, and undo the root handler that a library's first record installs."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
