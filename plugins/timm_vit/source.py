"""Which model and which weights the options name: timm's names, a file, or weights that timm publishes."""

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import huggingface_hub
import timm

from aaclip_kit import UserError

from ..hub import cached, check_hub_name
from . import TimmOptions

_MODULES: Final = ["vision_transformer", "eva"]
"""Modules of timm whose models are plain vision transformers, for the most part."""

_NAME: Final = "model.safetensors"
"""What a file of weights is called in a repository of timm's."""


def check_name(model: str) -> None:
    """Raise `UserError`, with the nearest names, where timm has no such model, or no weights of that tag."""
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        names = timm.list_models(module=_MODULES)
        near = get_close_matches(architecture.lower(), names, n=3, cutoff=0.4) or timm.list_models("*dino*")
        fix = f"nearest names: {', '.join(near)}"
        raise UserError(f'timm {timm.__version__} has no model "{model}"', where="backbone.model", fix=fix)
    try:
        timm.get_pretrained_cfg(model)
    except RuntimeError:
        problem = f'{architecture} has no weights "{tag}" in timm {timm.__version__}'
        known = [name for name in timm.list_models(pretrained=True) if name.startswith(f"{architecture}.")]
        fix = f"names with weights: {', '.join(known) or 'none'}"
        raise UserError(problem, where="backbone.model", fix=fix) from None


def find_weights(options: TimmOptions) -> Path | None:
    """The weights file; None for random weights. Raises `UserError` for one that is missing or out of reach."""
    if options.pretrained == "none":
        return None
    if options.pretrained == "timm":
        return _published(options.model)
    file = Path(options.pretrained)
    if not file.is_file():
        fix = 'give a weights file, "timm" or "none"'
        raise UserError(f"the weights file {file} does not exist", where="backbone.pretrained", fix=fix)
    return file


def models_at_hand() -> list[str]:
    """Every model with published weights whose file is in the hub's cache."""
    names = timm.list_models(module=_MODULES, pretrained=True)
    return [name for name in names if cached(*_hub_file(timm.get_pretrained_cfg(name)))]


def _published(model: str) -> Path:
    repository, names = _hub_file(timm.get_pretrained_cfg(model))
    if not repository:
        fix = 'give a weights file, or "none" for random weights'
        raise UserError(f"timm publishes no weights of {model}", where="backbone.pretrained", fix=fix)
    if there := cached(repository, names):
        return there
    # Anything may go wrong between here and a distant server; the user needs one thing, where to get the file.
    try:
        check_hub_name()
        print(f"fetching the weights of {model}: {names[0]} of {repository}", file=sys.stderr)
        return Path(huggingface_hub.hf_hub_download(repository, names[0]))
    except Exception as error:
        problem = f"the weights of {model} are neither on this machine nor could they be fetched ({error})"
        fix = f"on a machine with a network fetch {names[0]} of {repository}, put the file anywhere on this machine "
        fix += 'and set backbone.pretrained to its path; or set it to "none" for random weights'
        raise UserError(problem, where="backbone.pretrained", fix=fix) from error


def _hub_file(config: Any) -> tuple[str, list[str]]:
    """The repository of the hub with a model's weights, empty for none, and the name of their file."""
    return getattr(config, "hf_hub_id", None) or "", [getattr(config, "hf_hub_filename", None) or _NAME]
