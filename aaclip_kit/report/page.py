"""The report: one HTML file that needs nothing beside it; its head, and the section on what ran."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.checks import ONE_SIDED
from ..data.roles import ALLOWED, NEAR, NOT_ZERO_SHOT
from ..files.whole_file import write_whole
from ..record.run_folder import REPORT, as_written
from . import attention_section, examples_section, results_section, training_section
from .figures import Budget, page_template
from .run_files import RunFiles, named
from .verdict import verdict


def write_report(folder: Path) -> Path:
    """Write `report.html` from what the run folder holds, and return its path.

    A run that stopped early, or was made by an older version, has a report of what there is. Raises `UserError` where
    the folder holds no experiment or manifest, and for a file that cannot be read.
    """
    run = RunFiles(folder)
    with as_written(folder):
        html = _html(run)
    # The name of an image file may be in another encoding.
    write_whole(folder / REPORT, html.encode("utf-8", errors="backslashreplace"))
    return folder / REPORT


def _html(run: RunFiles) -> str:
    budget = Budget()
    return page_template(__package__).render(
        title=run.name,
        text=run.text,
        summary=subtitle(run),
        warnings=warning_lines(run),
        verdict=verdict(run),
        results=results_section.section(run),
        published_sections=results_section.published_sections(run),
        detection_curves=training_section.curves_section(run),
        examples=examples_section.section(run, budget),
        attention=attention_section.section(run, budget),
        training=training_section.section(run),
        what_ran=what_ran_section(run),
    )


def what_ran_section(run: RunFiles) -> dict[str, Any]:
    """What `what_ran.html` shows."""
    facts = _facts(run.experiment, run.manifest)
    if run.calibration:
        facts.append(("thresholds", _thresholds(run.calibration)))
    return {"facts": facts, "roles": [_role(name, of) for name, of in (run.manifest.get("data") or {}).items()]}


def subtitle(run: RunFiles) -> list[str]:
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


def warning_lines(run: RunFiles) -> list[str]:
    """What a reader must know first: a run cut short, figures worse than none, what roles share, what training said."""
    stopped = [] if run.manifest.get("finished") else ["this run did not finish: what it had found until then is below"]
    notes = ((role, note) for role, of in (run.manifest.get("data") or {}).items() for note in of.get("notes") or ())
    first = (ALLOWED, NEAR, NOT_ZERO_SHOT, ONE_SIDED)
    shared = [f"data.{role}: {note}" for role, note in notes if note.startswith(first)]
    told = [str(event["message"]) for event in run.events if event.get("event") == "warning"]
    return stopped + results_section.red_lines(run.metrics, run.calibration) + shared + told


def _facts(experiment: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of label and text; what the manifest lacks is left out."""
    device, git = manifest.get("device") or {}, manifest.get("git") or {}
    seconds, peak = manifest.get("seconds"), manifest.get("peak_memory_bytes")
    pairs = [
        ("profile", experiment.get("profile")),
        ("backbone", _joined(experiment.get("backbone"), ("use", "model", "pretrained", "image_size"))),
        ("stages", ", ".join(experiment.get("stages") or ())),
        *((table, (experiment.get(table) or {}).get("use")) for table in ("prompts", "head", "reference", "scheduler")),
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


def _role(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """The images of one role: how many of each label by class, and how many were drawn of each class as few shots.

    Images that were held out of training count apart.
    """
    counts, held_out = of.get("counts") or {}, of.get("held_out_counts") or {}
    classes = [
        (each, *(count.get(kind, 0) - held_out.get(each, {}).get(kind, 0) for kind in ("normal", "anomalous")))
        for each, count in counts.items()
    ]
    held = sum(sum(one.values()) for one in held_out.values())
    return {
        "name": name,
        "sets": [_set(label, one) for label, one in (of.get("sets") or {}).items()],
        "images": int(of["count"]) - held,
        "held_out": held,
        "normal": sum(normal for _, normal, _ in classes),
        "anomalous": sum(anomalous for *_, anomalous in classes),
        "classes": classes,
        "shots": _shots(of),
        "notes": of.get("notes") or (),
    }


def _set(label: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """One data set of a role that has several."""
    return {"label": label, "images": int(of["count"]), "classes": len(of["classes"]), "shots": _shots(of)}


def _shots(of: Mapping[str, Any]) -> tuple[int, int] | None:
    return (of["shots"]["normal"], of["shots"]["anomalous"]) if of.get("shots") else None


def _thresholds(calibration: Mapping[str, Any]) -> str:
    values = ((kind, calibration.get(f"{kind}_threshold")) for kind in ("image", "map"))
    texts = [f"{kind} {'not defined' if value is None else format(value, '.4g')}" for kind, value in values]
    rule, loop, source = (calibration.get(key) for key in ("rule", "loop", "source"))
    images = sum((calibration.get("counts") or {}).values())
    counted = f"{images} images of " if images else ""
    return f"{', '.join(texts)}; rule {rule}, {named(loop or 0)}, on {counted}{source}"


def _versions(table: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {number}" for name, number in (table or {}).items())


def _joined(table: Mapping[str, Any] | None, keys: tuple[str, ...]) -> str:
    return ", ".join(str(table[key]) for key in keys if key in table) if table else ""
