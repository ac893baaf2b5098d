"""Features on disk: one memory-mapped file each, shared by every run that has the folder."""

import os
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from ..contracts.errors import UserError
from .entry import VERSION, UntrustedError, packed, read_entry, write_entry
from .folder import entry_path, remove_leftovers
from .keys import FORMAT
from .room import Room
from .store import Notices


class DiskStore:
    """A `FeatureStore` in `folder`, which holds at most `bound` bytes of features of any backbone.

    `identity` is that of the backbone (`backbone_identity`). Raises `UserError` for a folder that cannot be made or
    read; what goes wrong later costs features that are made again, and a line for the user.
    """

    def __init__(self, folder: Path, bound: int, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self._used: set[Path] = set()
        self._verified: set[Path] = set()
        self._storing = True
        self._notices = Notices()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            self._room = Room(folder, bound)
        except OSError as error:
            problem = f"{folder} cannot hold frozen features: {error.strerror or error}"
            fix = 'name a folder that you may write, or set cache.features = "memory"'
            raise UserError(problem, where="cache.folder", fix=fix) from None

    def get(self, key: str) -> Tensor | None:
        """See `FeatureStore`."""
        path = entry_path(self.folder, self.identity, key)
        try:
            features = read_entry(path, self._about(key), verify=path not in self._verified)
        except UntrustedError as error:
            self._notices.add(str(error), f"{path} is {error}: not used, and its features are made again")
            with suppress(OSError):
                path.unlink()
            return None
        except (OSError, RuntimeError) as error:
            if os.path.lexists(path):
                self._notices.add("unreadable", f"{path} cannot be read ({error}): its features are made again")
            return None
        self._verified.add(path)
        if path not in self._used:
            self._used.add(path)
            with suppress(OSError):
                os.utime(path)
        return features

    def put(self, key: str, features: Tensor) -> None:
        """See `FeatureStore`."""
        path = entry_path(self.folder, self.identity, key)
        try:
            if self._storing and not os.path.lexists(path):
                self._write(path, packed(features, self._about(key)))
        except FileNotFoundError:
            pass  # the folder is being deleted at this moment: the next entry makes it again
        except OSError as error:
            self._stop(f"{self.folder} cannot be written ({error.strerror or error})")

    def drain(self) -> list[str]:
        """See `FeatureStore`."""
        return self._notices.drain()

    def _write(self, path: Path, content: bytes) -> None:
        if self._room.take(len(content), self._used):
            write_entry(path, content)
            self._used.add(path)
        else:
            self._stop(f"{self.folder} is full (cache.disk_gb = {self._room.bound / 1e9:g})")

    def _stop(self, reason: str) -> None:
        self._storing = False
        self._notices.add("stopped", f"{reason}: frozen features that it does not hold are made every time")

    def _about(self, key: str) -> dict[str, str]:
        return {VERSION: str(FORMAT), "identity": self.identity, "key": key}
