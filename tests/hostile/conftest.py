"""The fixtures of the command's tests."""

from ..cli.conftest import data, place, refused

__all__ = ["data", "place", "refused"]
