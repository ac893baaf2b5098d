"""Weights that need no network: the embedded model's, and what has been fetched before."""

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from ..contracts.errors import UserError
from ..plugin_host.discovery import discover
from ..plugin_host.registry import MEND, Registry
from .finding import Finding

DEFAULT: Final = "open_clip"
"""The backbone whose options are, by default, the embedded model."""

AT_HAND: Final = "weights_at_hand"
"""A function that the module of a backbone's plugin may have: names of weights that lie on this machine."""

_UNUSABLE: Final = (
    "mend what is bad above; if nothing is: python -m pip install --force-reinstall --no-deps open_clip_torch"
)


def weights() -> Iterator[Finding]:
    """Build the embedded model; then ask every plugin that offers a backbone which weights are there."""
    registry = discover()
    chosen = registry.get("backbone", DEFAULT)
    try:
        backbone = chosen.build(chosen.options())
    except UserError as error:
        yield Finding("embedded model", "bad", error.problem, _UNUSABLE if error.fix == MEND else error.fix)
        return
    size = sum(weight.numel() for weight in backbone.parameters()) / 1e6
    yield Finding("embedded model", "good", f"loads, {size:.1f} million weights, {backbone.image_size} px")
    there = [name for module in _modules(registry) for name in getattr(import_module(module), AT_HAND, list)()]
    found = ", ".join(there) if there else "none; what an experiment names is fetched when it first runs"
    yield Finding("fetched weights", "good", found)


def _modules(registry: Registry) -> list[str]:
    owners = [found.plugin for (kind, _), found in registry.components.items() if kind == "backbone"]
    return list(dict.fromkeys(owner.module for owner in owners))
