"""Whether a model was trained on images that it is to be evaluated on."""

from ..contracts.errors import UserError
from ..data.sources import Data
from .metadata import Metadata, short_digests


def check_unseen(metadata: Metadata, data: Data, allowed: bool) -> str | None:
    """Compare the test images with those that the checkpoint says it was trained on, by content and by data set.

    Returns a warning for the user, or None. Raises `UserError` for an overlap, unless it is allowed.
    """
    if not metadata.training_images:
        return "the checkpoint does not say which images it was trained on; these may be among them"
    contents = data.prints["test"].contents
    trained = set(metadata.training_images)
    seen = [path for digest, path in contents.items() if trained.intersection(short_digests([digest]))]
    name = data.sets["test"].name
    if seen:
        problem = f"the model was trained on {len(seen)} of these images, by content; the first is {seen[0]}"
    elif name and name == metadata.about.trained_on:
        problem = f"the model was trained on this data set, {name}"
    else:
        return None
    if allowed:
        return f"allow_overlap is set: {problem}"
    fix = "use images that it has not seen, or set data.allow_overlap = true"
    raise UserError(problem, where="data.test", fix=fix)
