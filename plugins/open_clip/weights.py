"""Published weights: where a tag's file lies or comes from."""

import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import open_clip

from aaclip_kit import UserError

from ..clip_weights import quiet

_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


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
