"""From the experiment's table to a store."""

from collections.abc import Callable

from ..experiment.schema import CacheTable
from .disk_store import DiskStore
from .folder import default_folder
from .store import FeatureStore, MemoryStore

_GB = 1e9


def open_store(table: CacheTable, identity: Callable[[], str]) -> FeatureStore | None:
    """The store that the table asks for; None for "off".

    `identity` gives the backbone's, and is called for a store on disk alone. Raises `UserError` where its folder cannot
    be made or read.
    """
    if table.features == "off":
        return None
    if table.features == "memory":
        return MemoryStore(int(table.memory_gb * _GB))
    # Absolute, since the program may change its folder while the store is open.
    folder = (table.folder or default_folder()).absolute()
    return DiskStore(folder, int(table.disk_gb * _GB), identity())
