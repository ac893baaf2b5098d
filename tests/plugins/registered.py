"""Calling a plugin's hook by hand, to see what it offers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def registered(hook: Callable[[Callable[[str, Any, Any], None]], None]) -> dict[str, tuple[Any, Any]]:
    """Factory, imported where it is named by text, and options model of each component that the hook offers."""
    found: dict[str, tuple[Any, Any]] = {}

    def register(name: str, factory: Any, options: Any) -> None:
        if isinstance(factory, str):
            module, attribute = factory.split(":")
            factory = getattr(import_module(module), attribute)
        found[name] = factory, options

    hook(register)
    return found
