"""The thresholds of a checkpoint, for scores that are made as those were that they were chosen on."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from ..contracts.data import Domain
from ..contracts.errors import in_short, shortened
from ..evaluation.calibration import Calibration, Tiles, What, absurd_rates
from ..evaluation.false_alarms import NEXT, FalseAlarms
from ..experiment import Experiment, resolved_toml
from ..experiment.effects import keys_acting_on
from ..experiment.moved_keys import with_moved_keys
from ..experiment.resolved import by_key, is_place
from .find_checkpoint import Trained
from .provenance import Metadata


@dataclass(frozen=True)
class Thresholds:
    """At or above them an image, or a pixel of its map, counts as anomalous; None where that is not decided.

    `reasons` says, under "image" and "map", why a checkpoint gives none. `good_scores` are image scores of good images,
    ascending, made in the same way; None where the checkpoint knows none.
    """

    image: float | None = None
    map: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    good_scores: Sequence[float] | None = None


def stored_thresholds(trained: Trained, domain: Domain | None = None, tiles: Tiles | None = None) -> Thresholds:
    """Those of the checkpoint that are for such scores: of images of a domain, by default that of training, in tiles.

    Those chosen on whole images are not for images that are cut into tiles, nor the other way round.
    """
    calibration, metadata = trained.metadata.calibration, trained.metadata
    evaluation = trained.experiment.file.evaluation
    if calibration is None:
        return _none("it was never calibrated")
    if metadata.experiment is None:
        return _none("it does not say which experiment its thresholds were chosen with")
    if changed := changed_keys(metadata.experiment, trained.experiment):
        return _none(f"not chosen for scores made in this way: {in_short(changed, between='; ')}")
    if calibration.tiles != tiles:
        return _none(f"chosen on images {how_cut(calibration.tiles)}, and these are scored {how_cut(tiles)}")
    reasons = {key.removesuffix("_threshold"): reason for key, reason in calibration.reasons.items()}
    if domain not in (None, metadata.about.domain) and evaluation.blur:
        problem = f"chosen for {metadata.about.domain} images, whose maps are blurred in another way"
        reasons |= {"map": problem} if evaluation.image_score == "detection" else {"image": problem, "map": problem}
    other = "image" in reasons
    image, map_ = (
        None if other else calibration.image_threshold,
        None if "map" in reasons else calibration.map_threshold,
    )
    return Thresholds(image, map_, reasons, None if other else calibration.normal_scores)


def origin(calibration: Calibration | None, what: What) -> str:
    """Where a stored threshold is from, and its share of false alarms there, in words."""
    if calibration is None:
        return "of unknown origin"
    counts, fpr = calibration.counts, (calibration.achieved.get(what) or {}).get("fpr")
    if calibration.rule == "false_alarms" and calibration.expected is not None:
        photographs = counts.get("normal", 0)
        chosen = f"chosen on {photographs} good photographs ({shortened(calibration.source, 200)})"
        return f"{chosen}; {_promised(calibration, photographs, what)}"
    images = f"{counts.get('normal', 0)} normal and {counts.get('anomalous', 0)} anomalous images"
    alarms = "false alarms there not known" if fpr is None else f"false alarms there {fpr:.1%}"
    return f"chosen by rule {calibration.rule} on {images} of {shortened(calibration.source, 200)}; {alarms}"


def _promised(calibration: Calibration, photographs: int, what: What) -> str:
    """What to expect of a threshold for a rate of false alarms, as it was said when it was chosen."""
    low, high = calibration.expected or (0.0, 1.0)
    rank = round((calibration.fpr or 0) * (photographs + 1))
    if not 1 <= rank <= photographs:
        return f"expect {low:.1%} to {high:.1%} of good parts above it"
    few, many = FalseAlarms(0.0, photographs, rank).of_next
    return f"of {NEXT} good parts {few} to {many} will {'be called bad' if what == 'image' else 'have a mask'}"


def objections(metadata: Metadata, real_names: Mapping[str, str], used: Sequence[What]) -> list[str]:
    """What speaks against the stored thresholds that are `used`, for images of these classes; `real_names` by class.

    That they were chosen on other objects, and that they are absurd on their own.
    """
    calibration, known = metadata.calibration, metadata.about.real_names
    if calibration is None or not used:
        return []
    lines = absurd_rates(
        {what: calibration.achieved.get(what, {}) for what in used}, shortened(calibration.source, 200)
    )
    if calibration.classes is None:
        return ["the thresholds were chosen on objects that the checkpoint does not name", *lines]
    own = {*calibration.classes, *(known.get(name, name) for name in calibration.classes)}
    others = [real for name, real in real_names.items() if name not in own and real not in own]
    if not others:
        return lines
    words = f"({in_short(calibration.classes)}), not on {in_short(dict.fromkeys(others))}"
    return [f"the thresholds were chosen on other objects {words}: their false alarms here are not known", *lines]


def changed_keys(own: str, experiment: Experiment) -> list[str]:
    """Keys that act on raw scores and are not the same in a checkpoint's own experiment (TOML), each with both values.

    A file or folder of the backbone may lie elsewhere, under its old name. The levels are left out: the checkpoint
    fits no others.
    """
    before, now = scoring_keys(own), scoring_keys(resolved_toml(experiment))
    return [
        f"{key} is {now.get(key, 'unset')}, and was {before.get(key, 'unset')}"
        for key in dict.fromkeys([*now, *before])
        if now.get(key) != before.get(key)
    ]


def scoring_keys(text: str) -> dict[str, Any]:
    """Return every key of an experiment (TOML) that acts on raw scores, with its value; files by their name alone."""
    tables = with_moved_keys(tomllib.loads(text))
    backbone = {key: _place_free(value) for key, value in tables["backbone"].items()}
    model = {key: value for key, value in tables["model"].items() if key != "levels"}
    chosen = [key.split(".") for key in keys_acting_on("scoring") if key.startswith(("evaluation.", "switches."))]
    own = {f"{table}.{key}": tables[table].get(key) for table, key in chosen}
    shared: dict[str, Any] = {
        name: tables[name] for name in ("prompts", "head", "reference", "stages") if name in tables
    }
    return by_key({"backbone": backbone, "model": model, **shared, **own})


def _place_free(value: Any) -> Any:
    """The last part of a path that says where it lies; anything else as it is."""
    return PureWindowsPath(value).name if isinstance(value, str) and is_place(value) else value


def how_cut(tiles: Tiles | None) -> str:
    """Say how images are cut."""
    return "as a whole" if tiles is None else f"in tiles ({tiles})"


def _none(reason: str) -> Thresholds:
    return Thresholds(reasons={"image": reason, "map": reason})
