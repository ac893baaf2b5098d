"""What the options `model` and `pretrained` point at: a configuration, a weights file, the activation it needs."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from os.path import expanduser
from pathlib import Path
from typing import Any, Final

import open_clip

from aaclip_kit import UserError

from ..hub import cached
from ..weights_path import is_path
from . import OpenClipOptions
from .weights import hub_files, weights_of_tag

CONFIG_NAME, WEIGHTS_NAME = "open_clip_config.json", "open_clip_model.safetensors"

_MOST_BYTES: Final = 1 << 20
"""Size of the largest configuration that is read."""

_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_bias", "init_logit_scale"}
_VISION_KEYS = {
    *("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "ls_init_value", "patch_dropout"),
    *("no_ln_pre", "norm_kwargs", "act_kwargs", "pos_embed_type"),
}
_TEXT_KEYS = {
    *("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "ls_init_value"),
    *("norm_kwargs", "act_kwargs", "proj_bias"),
}

_FETCHED = Path("~/.cache/clip")
"""Where open_clip keeps what it fetches from elsewhere than the hub."""


@dataclass(frozen=True)
class Source:
    """A model to build. `weights` is None for random weights; `quick_gelu` is None where nobody recorded it."""

    config: dict[str, Any]
    weights: Path | None
    quick_gelu: bool | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def find_source(options: OpenClipOptions) -> Source:
    """Resolve the options. Raises `UserError` for an unknown model or tag, a missing file, or weights out of reach."""
    if options.model in open_clip.list_models():
        return _named(options.model, options.pretrained)
    if is_path(options.model) and Path(options.model).is_dir():
        folder = Path(options.model)
        return _local(folder / CONFIG_NAME, folder / WEIGHTS_NAME, options.pretrained)
    raise _unknown_model(options.model)


def unsupported(config: dict[str, Any]) -> list[str]:
    """Keys of a model configuration that ask for something other than a plain vision-transformer CLIP."""
    vision, text = config.get("vision_cfg") or {}, config.get("text_cfg") or {}
    keys = [key for key, value in config.items() if value and key not in _KEYS]
    keys += [f"vision_cfg.{key}" for key, value in vision.items() if value and key not in _VISION_KEYS]
    keys += [f"text_cfg.{key}" for key, value in text.items() if value and key not in _TEXT_KEYS]
    return keys if isinstance(vision.get("layers", 12), int) else [*keys, "vision_cfg.layers"]


def _local(file: Path, own: Path, pretrained: str) -> Source:
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise ValueError("it is no plain file")
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        config = content.get("model_cfg", content)
        preprocess = content.get("preprocess_cfg", {})
        mean, std = _statistics(preprocess)
        plain = dict(config)
        _check_types(plain)
    except FileNotFoundError:
        fix = f"put the model's {file.name} there, or name another model"
        raise UserError("the model's configuration is missing", where=str(file), fix=fix) from None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, OSError) as error:
        raise UserError(f"is no open_clip configuration ({error})", where=str(file), fix="restore the file") from None
    weights = {"own": own, "none": None}.get(pretrained, Path(pretrained))
    if weights is not None and not weights.is_file():
        fix = f"put {own.name} there" if pretrained == "own" else 'give a weights file, "own" or "none"'
        raise UserError(f"the weights file {weights} does not exist", where="backbone.pretrained", fix=fix)
    return Source(plain, weights, bool(plain.get("quick_gelu", False)), mean, std)


def _check_types(config: dict[str, Any]) -> None:
    """Raise TypeError for a configuration whose parts are no tables, or whose sizes are no positive whole numbers."""
    sizes = {"vision_cfg": ("image_size", "patch_size", "width"), "text_cfg": ("vocab_size", "width", "layers")}
    for part, keys in sizes.items():
        table = config.get(part, {})
        if not isinstance(table, dict):
            raise TypeError(f"{part} is no table")
        for key in keys:
            if not (isinstance(size := table.get(key, 1), int) and size > 0):
                raise TypeError(f"{part}.{key} is no positive whole number")
    # A list of depths is that of a tower of another kind, which is told of by its name.
    if isinstance(depth := config.get("vision_cfg", {}).get("layers", 1), int) and depth < 1:
        raise TypeError("vision_cfg.layers is no positive whole number")


def _named(model: str, pretrained: str) -> Source:
    config = open_clip.get_model_config(model)
    assert config is not None
    mean, std = _statistics({})
    usual = _usual_activation(model, config)
    if pretrained == "none":
        return Source(config, None, usual if usual is not None else bool(config.get("quick_gelu")), mean, std)
    if is_path(pretrained) and Path(pretrained).is_file():
        return Source(config, Path(pretrained), usual, mean, std)
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if not tag:
        raise _unknown_weights(model, pretrained)
    mean, std = _statistics(tag)
    return Source(config, weights_of_tag(model, pretrained, tag), bool(tag.get("quick_gelu", False)), mean, std)


def _statistics(source: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    mean = source.get("mean") or open_clip.OPENAI_DATASET_MEAN
    std = source.get("std") or open_clip.OPENAI_DATASET_STD
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def _usual_activation(model: str, config: dict[str, Any]) -> bool | None:
    """Whether every published set of weights of this model was trained with QuickGELU; None where they differ."""
    if config.get("quick_gelu"):
        return True
    tags = open_clip.list_pretrained_tags_by_model(model)
    trained = {bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)) for tag in tags}
    return trained.pop() if len(trained) == 1 else None


def _unknown_model(model: str) -> UserError:
    if is_path(model):
        fix = f"give a folder with {CONFIG_NAME} and {WEIGHTS_NAME}"
        return UserError(f"there is no folder {model}", where="backbone.model", fix=fix)
    names = [name for name in open_clip.list_models() if not unsupported(open_clip.get_model_config(name) or {})]
    folded = {name.lower(): name for name in names} | {"embedded": 'use = "embedded" and no model'}
    near = [folded[name] for name in get_close_matches(model.lower(), folded, n=3, cutoff=0.4)] or names
    return UserError(f'there is no model "{model}"', where="backbone.model", fix=f"nearest names: {', '.join(near)}")


def _unknown_weights(model: str, pretrained: str) -> UserError:
    where = "backbone.pretrained"
    tags = open_clip.list_pretrained_tags_by_model(model)
    known = f'"none", a weights file{"".join(f", {tag}" for tag in tags)}'
    if pretrained == "own":
        return UserError(f"{model} has no weights of its own", where=where, fix=f"choose one of: {known}")
    if is_path(pretrained):
        return UserError(f"the weights file {pretrained} does not exist", where=where, fix="correct the path")
    near = get_close_matches(pretrained.lower().replace("-", "_"), tags, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return UserError(f'{model} has no weights "{pretrained}"', where=where, fix=f"{hint}choose one of: {known}")


def tags_at_hand() -> list[str]:
    """ "MODEL TAG" of each model that the backbone can be and whose weights are here."""
    known = [pair for pair in open_clip.list_pretrained() if not unsupported(open_clip.get_model_config(pair[0]) or {})]
    return [f"{model} {tag}" for model, tag in known if _is_there(open_clip.get_pretrained_cfg(model, tag))]


def _is_there(config: dict[str, Any]) -> bool:
    if config.get("hf_hub"):
        return cached(*hub_files(config)) is not None
    name = str(config.get("url", "")).rpartition("/")[2]
    fetched = Path(expanduser(_FETCHED))  # noqa: PTH111 - the home of nobody stays as it is written
    return bool(name) and (fetched / name).is_file()
