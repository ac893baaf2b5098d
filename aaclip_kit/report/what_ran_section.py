"""What ran: components, device, versions, seeds, and the images of each role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.checks import ALLOWED, NOT_ZERO_SHOT
from .run_files import RunFiles

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class RoleSummary:
    """The images of one role: how many of each label by class, and how many were drawn of each class as few shots."""

    name: str
    images: int
    normal: int
    anomalous: int
    classes: tuple[tuple[str, int, int], ...]
    shots: tuple[int, int] | None
    notes: tuple[str, ...]


def section(run: RunFiles) -> dict[str, Any]:
    """What `what_ran.html` shows."""
    known = facts(run.experiment, run.manifest)
    if run.calibration:
        known.append(("thresholds", _thresholds(run.calibration)))
    return {"facts": known, "roles": roles(run.manifest)}


def summary(run: RunFiles) -> list[str]:
    """The few words under the title."""
    experiment, manifest = run.experiment, run.manifest
    seeds = ", ".join(str(seed) for seed in (manifest.get("seeds") or {}).values())
    parts = [
        experiment.get("profile") and f"profile {experiment['profile']}",
        seeds and f"seed {seeds}",
        (manifest.get("device") or {}).get("name") and f"on {manifest['device']['name']}",
        str(manifest.get("started") or "")[:10],
    ]
    return [part for part in parts if part]


def warnings(run: RunFiles) -> list[str]:
    """What a reader must know before any figure: a run cut short, what roles share, and what training warned of."""
    stopped = [] if run.manifest.get("finished") else ["this run did not finish: what it had found until then is below"]
    told = [str(event["message"]) for event in run.events if event.get("event") == "warning"]
    return stopped + _leaks(run.manifest.get("data") or {}) + told


def facts(experiment: Mapping[str, Any], manifest: Mapping[str, Any]) -> Pairs:
    """Pairs of label and text; what the manifest lacks is left out."""
    device, git = manifest.get("device") or {}, manifest.get("git") or {}
    seconds, peak = manifest.get("seconds"), manifest.get("peak_memory_bytes")
    pairs = [
        ("profile", experiment.get("profile")),
        ("backbone", _joined(experiment.get("backbone"), ("use", "model", "pretrained", "image_size"))),
        ("stages", ", ".join(experiment.get("stages") or ())),
        ("scheduler", (experiment.get("scheduler") or {}).get("use")),
        ("device", _joined(device, ("name", "model"))),
        ("seed", ", ".join(str(seed) for seed in (manifest.get("seeds") or {}).values())),
        ("started", manifest.get("started")),
        ("time", None if seconds is None else f"{seconds / 60:.1f} minutes"),
        ("peak memory", None if peak is None else f"{peak / 1e9:.2f} GB"),
        ("platform", manifest.get("platform")),
        ("versions", _versions(manifest.get("versions"))),
        ("plugins", _versions(manifest.get("plugins"))),
        ("commit", git.get("commit") and git["commit"] + (" with changes" if git.get("modified") else "")),
    ]
    return [(label, str(text)) for label, text in pairs if text]


def roles(manifest: Mapping[str, Any]) -> list[RoleSummary]:
    """The images of each role, in the order of the manifest."""
    return [_role(name, of) for name, of in (manifest.get("data") or {}).items()]


def _role(name: str, of: Mapping[str, Any]) -> RoleSummary:
    counts = {label: dict(found) for label, found in (of.get("counts") or {}).items()}
    classes = tuple((label, found.get("normal", 0), found.get("anomalous", 0)) for label, found in counts.items())
    shots = (of["shots"]["normal"], of["shots"]["anomalous"]) if of.get("shots") else None
    normal, anomalous = sum(found[1] for found in classes), sum(found[2] for found in classes)
    return RoleSummary(name, int(of["count"]), normal, anomalous, classes, shots, tuple(of.get("notes") or ()))


def _leaks(data: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What roles share that bears on the results."""
    return [
        f"data.{role}: {note}"
        for role, of in data.items()
        for note in of.get("notes") or ()
        if note.startswith((ALLOWED, NOT_ZERO_SHOT))
    ]


def _thresholds(found: Mapping[str, Any]) -> str:
    values = ((kind, found.get(f"{kind}_threshold")) for kind in ("image", "map"))
    texts = [f"{kind} {'not defined' if value is None else format(value, '.4g')}" for kind, value in values]
    return f"{', '.join(texts)}; rule {found.get('rule')}, loop {found.get('loop')}, on {found.get('source')}"


def _versions(table: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {number}" for name, number in (table or {}).items())


def _joined(table: Mapping[str, Any] | None, keys: tuple[str, ...]) -> str:
    return ", ".join(str(table[key]) for key in keys if key in table) if table else ""
