"""Images that come into folders while they are watched, each once it is whole."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import sleep
from typing import Final

from ..contracts.errors import UserError
from ..data.image_file import page_of
from ..data.manifests import Listed, list_images

PAUSE: Final = 1.0
"""Seconds between two looks. A file that has not changed meanwhile is whole."""

_STEPS: Final = 10
"""Parts of a pause, after each of which it may be ended."""

Look = tuple[list[Listed], list[UserError]]
"""Images, and faults of folders and rows."""

FileState = tuple[int, int, int] | None
"""Size of a file in bytes, its time, and that of its last change, in nanoseconds; None for one that has gone.

The last is set by the system alone: copying programs give a file the time that another had.
"""


def arrivals(
    paths: Sequence[Path], root: Path | None, before_each: Callable[[], None], pause: float = PAUSE
) -> Iterator[Look]:
    """Yield, look after look without end, the images that are new or changed and whole, and faults that are new.

    A folder may be empty at first. `before_each` is called often, and ends it by what it raises. Raises `UserError` as
    `list_images` does, and where there is no folder to watch.
    """
    if not any(path.is_dir() for path in paths):
        raise UserError("there is no folder to watch", where="--watch", fix="name a folder, or leave --watch out")
    before: dict[Path, FileState] = {}
    given: dict[tuple[Path, str | None], FileState] = {}
    told = set[str]()
    while True:
        listed, faults, _ = list_images(paths, root, may_be_empty=True)
        states = {item.image: state_of(item.image) for item in listed}
        new = [
            item for item in listed
            if (state := states[item.image]) and state == before.get(item.image)
            and given.get((item.image, item.class_name)) != state
        ]  # fmt: skip
        given |= {(item.image, item.class_name): states[item.image] for item in new}
        yield new, [fault for fault in faults if str(fault) not in told]
        told |= set(map(str, faults))
        before = states
        for _ in range(_STEPS):
            before_each()
            sleep(pause / _STEPS)


def state_of(image: Path) -> FileState:
    """Return the state of the file that an image, or a page, is of."""
    try:
        facts = page_of(image)[0].stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
