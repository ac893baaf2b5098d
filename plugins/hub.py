"""Weights files of the Hugging Face hub: whether one is on this machine, and whether the hub can be asked at all."""

import socket
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub


def cached(repository: str, names: Iterable[str]) -> Path | None:
    """The first of a repository's files that was fetched before, in the hub's own cache; None where there is none."""
    for name in names if repository else ():
        file = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(file, str):
            return Path(file)
    return None


def check_hub_name() -> None:
    """Raise OSError where the hub's name cannot be resolved: the hub's own client would try on for most of a minute."""
    host = urlsplit(huggingface_hub.constants.ENDPOINT).hostname
    if host and not urllib.request.getproxies():
        socket.getaddrinfo(host, 443)
