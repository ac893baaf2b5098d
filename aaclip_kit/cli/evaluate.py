"""`aakit evaluate`: the metrics of a trained model on any data set."""

import json
from pathlib import Path
from typing import Any

from typer import Argument, Option

from ..contracts.errors import UserError, writing
from ..distributed.ranks import Ranks
from ..experiment.effects import check_overrides
from ..plugin_host.discovery import discover
from ..record.run_folder import EVALUATION
from .processes import in_processes
from .run import SET_HELP, with_shortcuts
from .terminal import say_lines

MODEL_HELP = "A run's folder, which stands for the loop that it quotes, a checkpoint, or hf://USER/NAME@REVISION."
EXPERIMENT_HELP = "Experiment file of the model; by default the one that it was trained with."
SQUARES_HELP = "Cut photographs into squares: how many along the shorter side; auto: of about the model's size; or off"
TILES_HELP = f"{SQUARES_HELP}; as a model was taught by default."


def evaluate(
    model: Path = Argument(help=MODEL_HELP),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    out: Path | None = Option(
        None, "--out", help="JSON file to write, or a folder, for evaluation.json in it; `aakit compare` reads both."
    ),
    as_json: bool = Option(False, "--json", help="Print JSON."),
    full_size: bool = Option(False, "--full-size", help="Measure pixels at each image's own size, not the model's."),
    tiles: str | None = Option(None, "--tiles", help=f"{TILES_HELP} Implies --full-size."),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
) -> None:
    """Score a data set with a trained model: by default the test data of its experiment."""
    check_overrides(overrides, "scoring", "metrics", "execution")
    overrides = with_shortcuts(overrides, device=device)
    with in_processes() as ranks:
        target = None if out is None or not ranks.is_first else _target(out)
        record = _evaluate(model, experiment, overrides, ranks, full_size=full_size, tiles=tiles)
        if ranks.is_first:
            _report(record, target, as_json)


def _evaluate(
    model: Path,
    experiment: Path | None,
    overrides: list[str],
    ranks: Ranks,
    *,
    full_size: bool,
    tiles: str | None,
) -> dict[str, Any]:
    from ..checkpoints.find_checkpoint import find_trained

    trained = find_trained(model, discover(), experiment, overrides, roles=["test"])
    from ..checkpoints.bank_file import check_unremembered
    from ..checkpoints.leakage_guard import check_unseen
    from ..data.load_data import load_data
    from ..evaluation.class_metrics import with_sets
    from ..inference.full_size_metrics import full_size_metrics
    from ..inference.load_model import TrainedModel
    from ..inference.tiled import chosen_tiles

    cut = chosen_tiles(trained, tiles, "--tiles")
    allowed = trained.experiment.file.data.allow_overlap
    data = check_unseen(trained.metadata, load_data(trained.experiment, ["test"]), allowed)
    about = {"checkpoint": str(trained.checkpoint), "seed": trained.metadata.seed}
    seen = {"data": data.records["test"], "notes": list(data.notes)}
    scoring = TrainedModel(trained, ranks)
    if (references := scoring.evaluator.references) is not None:
        check_unremembered(references, data, allowed)
    if full_size or cut is not None:
        about = {**about, "full_size": True, "tiles": cut}
        found = full_size_metrics(scoring, data.sets["test"], data.sizes, cut)
    else:
        found = scoring.metrics(data.sets["test"])
    return {**about, **seen, **with_sets(found, data.classes("test"))}


def _report(record: dict[str, Any], target: Path | None, as_json: bool) -> None:
    from ..checkpoints.checkpoint import made_for
    from ..files.whole_file import write_whole

    text = json.dumps(record, indent=2, allow_nan=False)
    if target:
        made_for(target)
        with writing(target):
            write_whole(target, text + "\n")
    if as_json:
        say_lines(text)
    else:
        _show(record, target)


def _target(out: Path) -> Path:
    """Return the file to write. Raises `UserError` where it exists."""
    target = out if out.suffix == ".json" and not out.is_dir() else out / EVALUATION
    if target.exists():
        raise UserError("exists already", where=str(target), fix="name another file with --out")
    return target


def _show(record: dict[str, Any], target: Path | None) -> None:
    from .screen import Screen, class_rows, metrics_table

    screen = Screen()
    for note in record["notes"]:
        screen.message(f"warning    {note}")
    rows = {**class_rows(record), "mean": record["mean"]}
    screen.console.print(metrics_table("test class", rows.items()))
    screen.undefined(record)
    if record.get("full_size"):
        cut = "" if record["tiles"] is None else f", in tiles ({record['tiles']})"
        screen.message(f"pixel metrics are at each image's own size{cut}")
    screen.message(f"scored by {record['checkpoint']}")
    if target:
        screen.message(f"wrote {target}")
