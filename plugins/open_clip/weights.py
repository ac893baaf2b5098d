"""Published weights: where a tag's file lies or comes from."""

from pathlib import Path
from typing import Any

import open_clip

from aaclip_kit import UserError

from ..hub import cached, check_hub_name
from ..named_weights import quiet

_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def weights_of_tag(model: str, tag: str, config: dict[str, Any]) -> Path:
    """The weights file of a pretrained tag's `config`. Raises `UserError` that says which file to put where."""
    if there := cached(*hub_files(config)):
        return there
    # Anything may go wrong between here and a distant server; the user needs one thing, where to get the file.
    try:
        if config.get("hf_hub"):
            check_hub_name()
        with quiet():
            return Path(open_clip.download_pretrained(config))
    except Exception as error:
        problem = f'the weights "{tag}" of {model} are neither on this machine nor could they be fetched ({error})'
        fix = f"on a machine with a network fetch {_origin(config)}, put the file anywhere on this machine and set "
        fix += 'backbone.pretrained to its path; or set it to "none" for random weights'
        raise UserError(problem, where="backbone.pretrained", fix=fix) from error


def hub_files(config: dict[str, Any]) -> tuple[str, list[str]]:
    """The repository of the hub that a tag's `config` names, empty for none, and the names that its file may have."""
    repository, _, name = str(config.get("hf_hub", "")).rpartition("/")
    return repository, [name] if name else list(_HUB_NAMES)


def _origin(config: dict[str, Any]) -> str:
    repository, names = hub_files(config)
    return f"{names[0]} of {repository}" if repository else str(config.get("url"))
