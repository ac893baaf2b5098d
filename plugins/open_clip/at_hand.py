"""Which of open_clip's published weights have been fetched before. Looks at folders only, never at a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip

from .download import cached
from .source import unsupported

_FETCHED = Path("~/.cache/clip")
"""Where open_clip keeps what it fetches from elsewhere than the hub."""


def tags_at_hand() -> list[str]:
    """ "MODEL TAG" of each model that the backbone can be and whose weights are here."""
    return [
        f"{model} {tag}"
        for model, tag in open_clip.list_pretrained()
        if not unsupported(open_clip.get_model_config(model) or {})
        and _is_there(open_clip.get_pretrained_cfg(model, tag))
    ]


def _is_there(config: dict[str, Any]) -> bool:
    if config.get("hf_hub"):
        return cached(config) is not None
    name = str(config.get("url", "")).rpartition("/")[2]
    return bool(name) and (_FETCHED.expanduser() / name).is_file()
