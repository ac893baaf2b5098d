"""Trees of empty files, and folders that may not be read, which tests that run as root could not make."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def touch(root: Path, *names: str) -> Path:
    """Make empty files below a folder, with their folders."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def forbidden(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let the system refuse to list these folders, and to look at what lies in them."""

    def refusing(call: Callable[..., Any], inside: bool) -> Callable[..., Any]:
        def refuse(path: Any = ".", *arguments: Any, **named: Any) -> Any:
            if isinstance(path, str | os.PathLike):
                asked = Path(path)
                if any(folder in asked.parents or (asked == folder and not inside) for folder in folders):
                    raise PermissionError(13, "Permission denied", str(path))
            return call(path, *arguments, **named)

        return refuse

    for name, inside in (("scandir", False), ("listdir", False), ("stat", True), ("lstat", True)):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), inside))


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a container's user: a number that no list of users has, and no variable that names a folder."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "USER", "LOGNAME", "AAKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
