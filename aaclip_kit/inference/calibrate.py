"""New thresholds for a trained model, chosen on good photographs of one's own, in the place of those that it has."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote

from ..checkpoints.checkpoint import read, write
from ..checkpoints.find_checkpoint import Trained
from ..checkpoints.provenance import short
from ..checkpoints.stored_thresholds import Thresholds, changed_keys
from ..contracts.errors import UserError, in_short, writing
from ..evaluation.calibration import Calibration, Tiles
from ..experiment import resolved_toml
from ..files.lock import LOCK, locked
from ..files.plain_file import read_json
from ..record.run_folder import CALIBRATION, CHECKPOINTS, RunFolder
from .good_photographs import PhotographScores
from .load_model import UNNAMED, TrainedModel
from .photographs import Photographs, read_photographs


def check_own_experiment(trained: Trained) -> None:
    """Raise `UserError` where the model would score in another way than it says itself, or lies on the hub."""
    if trained.address is not None:
        copy = f"cp -rL {quote(str(trained.checkpoint.parent))} my.model"
        fix = f"copy it, and calibrate the copy: {copy}"
        raise UserError("is on the hub, where its thresholds stay as they are", where=str(trained.address), fix=fix)
    own = trained.metadata.experiment
    if own is not None and (changed := changed_keys(own, trained.experiment)):
        problem = f"scores in another way than the model's own experiment: {in_short(changed, between='; ')}"
        raise UserError(problem, where="--experiment", fix="leave it out, since the model has one of its own")


def read_for(
    model: TrainedModel,
    folder: Path,
    label: int,
    *,
    class_name: str | None,
    real_name: str | None,
    tiles: Tiles | None,
    before_each: Callable[[], None],
) -> Photographs:
    """Read a folder of photographs as the model is to score them."""
    name = class_name or UNNAMED
    return read_photographs(
        folder, label, class_name=name, real_name=real_name or model.real_name(name), domain=model.domain(),
        size=model.evaluator.pixels.size, decoded=model.decoded(tiles), before_each=before_each,
    )  # fmt: skip


def check_unused(model: TrainedModel, photographs: Photographs) -> None:
    """Raise `UserError` for good images that the model was trained on, or remembers: it finds them too normal."""
    metadata = model.trained.metadata
    known = {*metadata.training_images, *metadata.training_pixels, *map(short, model.remembered)}
    pairs = zip(photographs.data.samples, photographs.facts, strict=True)
    if seen := [sample.image for sample, facts in pairs if {short(facts.image), short(facts.pixels)} & known]:
        problem = f"the model was made of {len(seen)} of these images, by content; the first is {seen[0]}"
        fix = "give good photographs that it has not seen; aakit teach chooses thresholds on those that it remembers"
        raise UserError(problem, where=str(photographs.folder), fix=fix)


def scores_of(model: TrainedModel, photographs: Photographs, before_each: Callable[[], None]) -> PhotographScores:
    """Score photographs as `aakit predict` does."""
    images, peaks = list[float](), list[float]()
    sizes = [facts.size for facts in photographs.facts]
    for prediction in model.predictions(photographs.data, sizes, Thresholds(), photographs.decoded):
        before_each()
        images.append(prediction.pred_score)
        peaks.append(prediction.max_value)
    return PhotographScores(tuple(images), tuple(peaks))


def _is_quoted(checkpoint: Path, loop: int | None) -> bool:
    """Whether the checkpoint lies in a run whose file tells the thresholds of its loop."""
    if checkpoint.parent.name != CHECKPOINTS:
        return False
    told = checkpoint.parents[1] / CALIBRATION
    return told.is_file() and read_json(told).get("loop") == loop


def store(trained: Trained, calibration: Calibration) -> Path:
    """Write the thresholds into the checkpoint, and where it is the one that its run quotes into the run's file.

    Those that were there are gone. Returns the checkpoint. Raises `UserError` where it cannot be written, and where a
    run is at work on it; then it is as it was.
    """
    path, metadata = trained.checkpoint, trained.metadata
    experiment = metadata.experiment or resolved_toml(trained.experiment)
    loop, quoted = metadata.about.loop, _is_quoted(path, metadata.about.loop)
    run = path.parents[1] if path.parent.name == CHECKPOINTS else path.parent
    lock = locked(run) if (run / LOCK).exists() else nullcontext()
    with writing(path, "make it writable, or calibrate a copy of it"), lock:
        write(read(path), path, replace(metadata, experiment=experiment, calibration=calibration))
        if quoted:
            RunFolder(path.parents[1]).write_calibration({"loop": loop, **asdict(calibration)})
    return path
