"""Names of the public API on their way out: they work for one more minor version, and warn."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Deprecated:
    """A name that will go: what it still stands for, what to use in its place, and the API version that drops it."""

    value: Callable[[], Any]
    instead: str
    gone_in: str


DEPRECATED: dict[str, Deprecated] = {}
"""Public names that are going, none at present. They are not in `__all__`, and the API page does not list them."""


def deprecated_value(name: str) -> Any:
    """What a deprecated name stands for, with a DeprecationWarning at the line that asks for it."""
    found = DEPRECATED[name]
    text = f"aaclip_kit.{name} will be gone in API {found.gone_in}; use {found.instead}"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
    return found.value()
