"""Many images cut into shards, which commands of their own score: on devices, under Slurm, in a Ray cluster.

A shard has a folder in that of the results, with the list of its images. What it scores are lines of a rank of its own,
as torchrun's processes write them, and its pictures lie where all do. Scored again from its start it is the same.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ..cluster.task import Place, Task
from ..contracts.errors import UserError, UserErrors
from ..data.manifests import Listed
from ..distributed.ranks import Ranks
from ..files.lock import in_use, locked
from ..files.plain_file import read_json, read_text
from ..files.whole_file import write_whole
from .load_model import TrainedModel
from .picture_names import PictureName, picture_names
from .predictions import keys_of, left_to_score, score_named, settings_of, skipped, sum_up
from .results_folder import SKIPPED, Results, results_in
from .score_images import Scoring, Tally
from .score_table import Summary

MOST_IMAGES: Final = 8192
"""Images of a shard: the model is loaded once for them, and they are scored again if their node dies."""

_TODO, _TALLY = "todo.jsonl", "tally.json"


def shard_folder(out: Path, number: int) -> Path:
    """Return the folder of a shard, counted from 1, of the results in `out`."""
    return out / f".shard_{number}"


def predict_in_shards(
    model: TrainedModel,
    listed: Sequence[Listed],
    scoring: Scoring,
    *,
    faults: Sequence[UserError],
    out: Path,
    place: Place,
    words: Sequence[str],
    least: int,
    skip: bool,
) -> tuple[Summary, Tally]:
    """Score the images as `write_predictions` with `append` does, in at least `least` shards, where there are as many.

    `words` are those of the command that scores a shard, without its number. Raises `UserError` likewise, and for
    shards that failed, once the lines of all the others are put together: the same call goes on with what is left.
    """
    _forget(out)
    with results_in(
        out, model.evaluator.ranks, settings_of(model, scoring), append=True, given=keys_of(listed, scoring)
    ) as results:
        tally, failed = Tally(), list[UserError]()
        tally.add_faults(faults)
        results.add(map(skipped, faults), SKIPPED)
        left = left_to_score(listed, scoring, results)
        tally.add_results(results)
        count = _write_shards(model, left, results.pictures, out, least)
        for number, fault in _ends(out, place, words, count):
            if fault is not None:
                failed.append(fault)
            else:
                tally = Tally.of_all([tally, _read_tally(shard_folder(out, number) / _TALLY)])
        results.ranks = Ranks(0, count + 1)
        summary = sum_up(results, model, scoring)
        results.remove_leftovers()
        _forget(out)
    if failed or not tally.is_good(skip, append=True):
        raise UserErrors([*failed, *([] if tally.is_good(skip, append=True) else tally.faults)])
    return summary, tally


def score_shard(
    model: TrainedModel,
    scoring: Scoring,
    *,
    out: Path,
    number: int,
    skip: bool,
    before_each: Callable[[], None],
) -> None:
    """Score a shard from its start. Raises `UserError` where another process is at work on it."""
    folder = shard_folder(out, number)
    with locked(folder):
        if (folder / _TALLY).exists():  # a task that came too late
            return
        results, tally = Results(out, Ranks(number, number + 1)), Tally()
        results.forget_own()
        named = [(Listed(Path(one["image"]), one["class"]), _name(one)) for one in _lines(folder / _TODO)]
        score_named(model, named, results, tally, scoring, skip=skip, before_each=before_each)
        write_whole(folder / _TALLY, json.dumps(_as_json(tally)))


def _write_shards(model: TrainedModel, left: Sequence[Listed], taken: Iterable[str], out: Path, least: int) -> int:
    """Write the lists of the shards, each of whole batches; returns how many there are."""
    batch = model.evaluator.table.batch_size
    batches = range(0, len(left), batch)
    shards = min(max(least, -(-len(left) // MOST_IMAGES)), len(batches))
    names: Iterator[PictureName] = iter(picture_names([item.image for item in left], taken))
    for number in range(1, shards + 1):
        own = Ranks(number - 1, shards).own(batches)
        lines = (_line(item, next(names)) for item in left[own[0] : own[-1] + batch])
        folder = shard_folder(out, number)
        folder.mkdir()
        write_whole(folder / _TODO, "".join(json.dumps(line) + "\n" for line in lines))
    return shards


def _ends(out: Path, place: Place, words: Sequence[str], count: int) -> Iterator[tuple[int, UserError | None]]:
    numbers = {f"shard_{number}": number for number in range(1, count + 1)}
    tasks = [
        Task(name, (*words[:1], "--shard", str(number), *words[1:]), shared=out.absolute())
        for name, number in numbers.items()
    ]
    for task, ended in place.outcomes(tasks):
        fix = "start the command again: what is scored is kept"
        yield numbers[task.name], ended.fault(task.name, fix)


def _forget(out: Path) -> None:
    """Remove the folders of shards. Raises `UserError` where a task of an earlier command is at work in one."""
    for folder in out.glob(".shard_*"):
        if in_use(folder):
            fix = "wait until it ends, or end it; then start the command again"
            raise UserError("a task of an earlier command is still at work on a shard", where=str(folder), fix=fix)
        shutil.rmtree(folder)


def _line(item: Listed, name: PictureName) -> dict[str, Any]:
    named = {"place": str(name.place), "end": name.end, "end_of_pages": name.end_of_pages}
    return {"image": str(item.image), "class": item.class_name, **named}


def _name(line: dict[str, Any]) -> PictureName:
    return PictureName(Path(line["place"]), line["end"], line["end_of_pages"])


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_text(file, fix="start the command again").splitlines()]


def _as_json(tally: Tally) -> dict[str, Any]:
    return {
        "scored": tally.scored,
        "bad": tally.bad,
        "first_faults": [(fault.problem, fault.where, fault.fix) for fault in tally.first_faults],
        "previews": list(map(str, tally.previews)),
        "remembered": list(map(str, tally.remembered)),
    }


def _read_tally(file: Path) -> Tally:
    found = read_json(file)
    return Tally(
        scored=found["scored"],
        bad=found["bad"],
        first_faults=[UserError(problem, where=where, fix=fix) for problem, where, fix in found["first_faults"]],
        previews=list(map(Path, found["previews"])),
        remembered=list(map(Path, found["remembered"])),
    )
