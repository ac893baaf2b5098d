"""What is pushed of a trained model: tensors alone, its experiment without this machine's places, and its card."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, Final

import tomli_w

from ..checkpoints.bank_file import bank_of, remembered
from ..checkpoints.checkpoint import check_numbers, read
from ..checkpoints.find_checkpoint import Trained
from ..comparison.finished_runs import FinishedRun, gather
from ..contracts.errors import UserError
from ..experiment.resolved import by_key, is_place, resolved_toml
from ..files.plain_file import read_json, read_plain
from ..files.weights_file import as_safetensors, check_kind
from ..hub.file_list import BANK, CARD, EXPERIMENT, LIST, MANIFEST, MODEL, Name, list_of
from ..record.manifest import package_versions
from ..record.run_folder import MANIFEST as RUN_MANIFEST
from ..record.run_folder import METRICS, is_finished
from .model_card import About, model_card


@dataclass(frozen=True)
class Package:
    """The files of a repository by name, and what to tell whoever pushes them."""

    files: dict[str, bytes]
    notes: tuple[str, ...] = ()


def packed(trained: Trained, *, repository: str, licence: str | None, data_licences: Mapping[str, str]) -> Package:
    """Put together what is pushed; reads and writes nothing but this model's files.

    `data_licences` are those of published data sets by name. Raises `UserError` for a checkpoint that holds anything
    but finite tensors, and for a memory that is not there.
    """
    metadata, checkpoint = trained.metadata, trained.checkpoint
    tables = tomllib.loads(metadata.experiment or resolved_toml(trained.experiment))
    experiment = tomli_w.dumps(_without_places(tables))
    tensors = read(checkpoint)
    check_numbers(tensors, str(checkpoint))
    apart = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    strings = replace(metadata, experiment=experiment).as_strings()
    files: dict[Name, bytes] = {
        MODEL: as_safetensors(apart, strings),
        EXPERIMENT: experiment.encode(),
    }
    remembers = dict[str, int]()
    if trained.experiment.reference is not None:
        files[BANK] = _bank(bank_of(checkpoint))
        remembers = {name: len(images) for name, images in remembered(bank_of(checkpoint)).items()}
    run = checkpoint.parent.parent
    manifest = _manifest(run / RUN_MANIFEST)
    if manifest is not None:
        files[MANIFEST] = _json(manifest)
    about = About(
        repository=repository, licence=licence, metadata=metadata, tables=tomllib.loads(experiment),
        manifest=manifest or {}, metrics=_metrics(run / METRICS, metadata.about.loop), seeds=_seeds(run),
        data_licences=data_licences, bytes=sum(map(len, files.values())), remembers=remembers,
        versions=package_versions(),
    )  # fmt: skip
    whole: dict[str, bytes] = {CARD: model_card(about).encode(), LIST: list_of(files)}
    whole.update((str(name), content) for name, content in files.items())
    return Package(whole, _notes(tables, licence, BANK in files))


def _without_places(value: Any) -> Any:
    """The same with files and folders by their names alone, behind "../", which a reader takes for nobody's place."""
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    return f"../{PureWindowsPath(value).name}" if is_place(value) else value


def _bank(path: Path) -> bytes:
    if not path.is_file():
        fix = "put the file of the run's folder checkpoints beside the checkpoint"
        raise UserError("the memory of the model is not there", where=str(path), fix=fix)
    check_kind(path)
    return read_plain(path, most=1 << 40)


_KEPT: Final = ("versions", "plugins", "seeds", "started", "finished", "seconds")


def _manifest(path: Path) -> dict[str, Any] | None:
    """Of a run's manifest what a reader needs: neither the machine nor any path; None without a run."""
    if not path.is_file():
        return None
    record = read_json(path)
    kept = {key: value for key, value in record.items() if key in _KEPT}
    data = record.get("data")
    roles = data.items() if isinstance(data, dict) else ()
    return {**kept, "data": {role: _counted(one) for role, one in roles if isinstance(one, dict)}}


def _counted(role: Mapping[str, Any]) -> dict[str, Any]:
    """Counts and digests of a role's images; of those held out only how many there are."""
    known = {key: role[key] for key in ("count", "classes", "counts", "sha256") if key in role}
    held = role.get("held_out")
    return {**known, "held_out": len(held)} if isinstance(held, list) else known


def _metrics(path: Path, loop: int | None) -> dict[str, Any]:
    """Metrics of the checkpoint's loop, and before training; empty where no run says them."""
    if not path.is_file():
        return {}
    record = read_json(path)
    found = [one for one in record.get("loops", []) if isinstance(one, dict) and one.get("loop") == loop]
    own = found[0] if found else record.get("before") if loop == 0 else None
    return {"own": own, "before": record.get("before"), "rules": record.get("rules")} if isinstance(own, dict) else {}


def _seeds(run: Path) -> list[FinishedRun]:
    """The run and those of other seeds beside it; none where it is the only one, or no run."""
    if not (run.name.startswith("seed_") and is_finished(run)):
        return []
    (group,) = gather([run.parent])
    return list(group.runs.values()) if len(group.runs) > 1 else []


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()


def _notes(tables: Mapping[str, Any], licence: str | None, remembers: bool) -> tuple[str, ...]:
    """What whoever pushes should know before others read it."""
    places = [key for key, value in by_key(dict(tables)).items() if is_place(value)]
    notes = []
    if places:
        notes.append(f"of {len(places)} files and folders the name alone goes out: {', '.join(places[:8])}")
    own = [key for key in places if not key.startswith(("data.", "init."))]
    if own:
        notes.append(f"who loads it has to name what is not in it: {', '.join(f'--set {key}=...' for key in own)}")
    if tables.get("plugins"):
        notes.append("it needs plugin files, which are programs and stay here: publish them as a package")
    if remembers:
        notes.append("its memory holds features of your normal images, and the SHA-256 of each")
    if licence is None:
        notes.append("its card states no licence, so nobody may use it: --licence apache-2.0, or another")
    return tuple(notes)
