"""Pretrained weights: where a tag's file lies or comes from, whether it fits the model, and putting it in quietly."""

import logging
import re
import socket
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import open_clip
import torch
from open_clip.model import resize_pos_embed
from torch import Tensor, nn

from aaclip_kit import UserError, read_weights

_UNUSED = {"logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size"}
"""Entries of CLIP checkpoints that no walk through the towers needs."""

_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
"""What DataParallel, DistributedDataParallel and `torch.compile` put before a name."""

_POSITIONS = "visual.positional_embedding"
_SHOWN = 4

_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def clip_weights(file: Path) -> dict[str, Tensor]:
    """Weights by CLIP's state-dict keys.

    Raises `UserError` for a damaged file, one that holds more than weights, or numbers that are no weights.
    """
    content = read_weights(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError("holds no weights by name", where=str(file), fix="give a CLIP state dict")
    named = {_WRAPPERS.sub("", str(key)): value for key, value in content.items()}
    if len(named) < len(content):
        raise UserError("holds a tensor twice, as it is and wrapped", where=str(file), fix="give it once")
    weights = {key: value for key, value in named.items() if key not in _UNUSED and isinstance(value, Tensor)}
    for key, value in weights.items():
        if not (value.is_floating_point() and value.layout == torch.strided and value.device.type == "cpu"):
            problem = f"{key} is no tensor of weights: it is {value.dtype}, {value.layout}, on {value.device}"
            raise UserError(problem, where=str(file), fix="give weights in 16 or 32 bits")
        if not torch.isfinite(value).all():
            fix = "fetch the file again, or give other weights"
            raise UserError(f"{key} holds numbers that are not finite", where=str(file), fix=fix)
    return weights


def load_weights(model: nn.Module, file: Path) -> None:
    """Copy a weights file into an open_clip model, image positions resized to its grid.

    Raises `UserError` where names or shapes differ, and then copies nothing.
    """
    weights = clip_weights(file)
    misfits: list[str] = []
    if _POSITIONS in weights:
        weights[_POSITIONS] = weights[_POSITIONS].float()
        # A grid that is not square, or no grid at all.
        try:
            with quiet():
                resize_pos_embed(weights, model)
        except (RuntimeError, ValueError, TypeError):
            misfits = [f"{_POSITIONS} {list(weights[_POSITIONS].shape)} is no square grid"]
    if misfits := misfits or _misfits(model, weights):
        more = f", and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        problem = f"does not fit the model: {'; '.join(misfits[:_SHOWN])}{more}"
        fix = "set backbone.model to the model that the file was made for, or give another file"
        raise UserError(problem, where=str(file), fix=fix)
    model.load_state_dict(weights, strict=False)


def _misfits(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    wanted = {key: list(value.shape) for key, value in model.state_dict().items() if key not in _UNUSED}
    given = {key: list(value.shape) for key, value in weights.items()}
    missing = [f"{key} is missing" for key in wanted if key not in given]
    unknown = [f"{key} is unknown" for key in given if key not in wanted]
    shared = [(key, given[key], shape) for key, shape in wanted.items() if key in given]
    shapes = [f"{key} is {own} where {shape} is needed" for key, own, shape in shared if own != shape]
    return shapes + missing + unknown


def weights_of_tag(model: str, tag: str, config: dict[str, Any]) -> Path:
    """The weights file of a pretrained tag's `config`. Raises `UserError` that says which file to put where."""
    if there := cached(config):
        return there
    # Anything may go wrong between here and a distant server; the user needs one thing, where to get the file.
    try:
        if config.get("hf_hub"):
            _check_hub_name()
        with quiet():
            return Path(open_clip.download_pretrained(config))
    except Exception as error:
        problem = f'the weights "{tag}" of {model} are neither on this machine nor could they be fetched ({error})'
        fix = f"on a machine with a network fetch {_origin(config)}, put the file anywhere on this machine and set "
        fix += 'backbone.pretrained to its path; or set it to "none" for random weights'
        raise UserError(problem, where="backbone.pretrained", fix=fix) from error


def cached(config: dict[str, Any]) -> Path | None:
    """The weights file of a tag's `config` in the hub's cache; None where it was not fetched."""
    repository, names = _hub_files(config)
    for name in names if repository else ():
        file = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(file, str):
            return Path(file)
    return None


def _hub_files(config: dict[str, Any]) -> tuple[str, list[str]]:
    repository, _, name = str(config.get("hf_hub", "")).rpartition("/")
    return repository, [name] if name else list(_HUB_NAMES)


def _check_hub_name() -> None:
    """Raise OSError where the hub's name cannot be resolved: the hub's own client would try on for most of a minute."""
    host = urlsplit(huggingface_hub.constants.ENDPOINT).hostname
    if host and not urllib.request.getproxies():
        socket.getaddrinfo(host, 443)


def _origin(config: dict[str, Any]) -> str:
    repository, names = _hub_files(config)
    return f"{names[0]} of {repository}" if repository else str(config.get("url"))


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log records below errors, and undo the root handler that open_clip's first record installs."""
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
