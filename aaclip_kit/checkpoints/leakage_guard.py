"""Whether trained weights have seen the images that they are to be judged by."""

from dataclasses import replace

from ..contracts.errors import UserError, in_short
from ..data.load_data import Data
from ..data.roles import ALLOWED
from .provenance import Metadata, short

_FIX = "use images that it has not seen, or set data.allow_overlap = true"


def check_unseen(metadata: Metadata, data: Data, allowed: bool, who: str = "the model") -> Data:
    """Compare every role but `train` with what a checkpoint says it was trained on, by content and by data set.

    Content is that of the file or, where the checkpoint says that too, its pixels.

    Returns the data, with notes; where overlap is allowed, what the manifest says of a role has `overlap_allowed` and
    `shared_images`: the larger count, where the role shares images with another too. Raises `UserError` for an overlap
    that is not allowed.
    """
    notes, records = list(data.notes), dict(data.records)
    for role in [role for role in data.sets if role != "train"]:
        images, note = _seen(metadata, data, role, who)
        record = records[role]
        if note is not None:
            if not allowed:
                raise UserError(note, where=f"data.{role}", fix=_FIX)
            note = f"{ALLOWED}: {note}"
            record = {**record, "overlap_allowed": True, "shared_images": max(images, record.get("shared_images", 0))}
        elif not metadata.says_all:
            note = f"{who} does not say all the images that it was trained on; these may be among them"
        else:
            continue
        notes.append(f"data.{role}: {note}")
        records[role] = {**record, "notes": [*record["notes"], note]}
    return replace(data, records=records, notes=tuple(notes))


def _seen(metadata: Metadata, data: Data, role: str, who: str) -> tuple[int, str | None]:
    """How many images of the role were trained on, and what to say of it; None where nothing was."""
    trained, pixels = set(metadata.training_images), set(metadata.training_pixels)
    found = data.fingerprints[role]
    files = {path for path, digest in found.images.items() if short(digest) in trained}
    seen = [path for path, digest in found.pixels.items() if path in files or short(digest) in pixels]
    if seen:
        return len(seen), f"{who} was trained on {len(seen)} of these images, by content; the first is {seen[0]}"
    names = [name for name in data.names(role) if name in metadata.about.trained_on]
    these = "this data set" if len(names) == 1 else "these data sets"
    return 0, f"{who} was trained on {these}, {in_short(names)}" if names else None
