"""The card of a model: what it is, what it was trained and measured on, and what it must not be used for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..checkpoints.provenance import Metadata
from ..checkpoints.stored_thresholds import origin
from ..comparison.finished_runs import FinishedRun
from ..comparison.paired_statistics import mean_difference, t_interval
from ..comparison.write import inert, markdown_table
from ..contracts.errors import MISSING, in_short, shortened
from ..evaluation.calibration import What
from ..experiment.resolved import by_key

METRICS: Final = {
    "pixel_auroc": "pixel AUROC", "pixel_aupro": "pixel AUPRO", "pixel_ap": "pixel AP", "image_auroc": "image AUROC",
    "image_ap": "image AP",
}  # fmt: skip

NOT_FOR: Final = (
    "To decide alone about anybody's safety, health, work or money: a person looks at what it marks, and at samples of "
    "what it passes.",
    "On other objects, cameras, distances or light than those that its thresholds were chosen on, before "
    "`aakit calibrate` has chosen new ones on photographs of your own.",
    "As a medical device: it is none, and nobody has examined it as one.",
    "To recognise, judge or watch people.",
    "As evidence that a part is good: it finds what differs from what it was shown, and misses what does not.",
)
"""What no model of this kind is for."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a card is made of. `tables` are the experiment's; `manifest` and `metrics` are empty without a run."""

    repository: str
    licence: str | None
    metadata: Metadata
    tables: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    seeds: Sequence[FinishedRun] = ()
    """Runs of the same experiment with other seeds, and its own."""
    data_licences: Mapping[str, str]
    bytes: int
    remembers: Mapping[str, int]
    """Normal images that are remembered, by class."""
    versions: Mapping[str, str]


def model_card(about: About) -> str:
    """Return the card, Markdown below a head of YAML. What names say is shown letter by letter."""
    sections = {
        "What it is": _what(about),
        "How to use it": _use(about),
        "What it was trained and tested on": _data(about),
        "What was measured": _measured(about),
        "Thresholds": _thresholds(about),
        "What it must not be used for": [f"- {line}" for line in NOT_FOR],
        "Licence": _licence(about),
        "Made with": _versions(about),
    }
    body = "\n".join(f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())
    return f"{_head(about)}# {inert(about.repository)}\n\n{body}"


def _head(about: About) -> str:
    licence = [] if about.licence is None else [f"license: {about.licence}"]
    tags = [f"- {tag}" for tag in ("anomaly-detection", "aaclip_kit", "clip")]
    return "\n".join(["---", *licence, "library_name: aaclip_kit", "tags:", *tags, "---", "", ""])


def _what(about: About) -> Iterator[str]:
    tables, loop = about.tables, about.metadata.about.loop
    backbone = tables.get("backbone", {})
    named = ", ".join(inert(str(backbone[key])) for key in ("use", "model", "pretrained") if key in backbone)
    yield f"A model that gives an image an anomaly score and a map of where it is unlike normal ones: backbone {named}."
    parts = [str(table.get("use")) for key in ("prompts", "head", "reference") if (table := tables.get(key))]
    stages = [str(table.get("use")) for table in tables.get("stages", {}).values()]
    yield f"Made of {inert(in_short(dict.fromkeys([*parts, *stages])))}; {_trained(loop)}."
    if about.remembers:
        of = in_short(f"{count:,} normal images of {name}" for name, count in about.remembers.items())
        yield f"It remembers features of {inert(of)}, and scores by how unlike them a patch is."
        yield "The SHA-256 of each image stands in the head of bank.safetensors."
    if about.metadata.about.imported_from:
        yield f"Its weights were imported from {inert(in_short(about.metadata.about.imported_from))}."
    yield f"Its files have {about.bytes / 1e6:,.1f} MB: what was trained, and not the backbone's own weights."


def _trained(loop: int | None) -> str:
    if loop is None:
        return "how long it was trained is not known"
    return "nothing was trained" if loop == 0 else f"trained for {loop} loop{'s' if loop > 1 else ''}"


def _use(about: About) -> Iterator[str]:
    yield from ("```sh", f"aakit predict hf://{about.repository} photos/ --out found", "```", "", "```python")
    yield from ("from aaclip_kit import load_model", "", f'model = load_model("hf://{about.repository}")', "```", "")
    yield "`@COMMIT` after the name stays with one commit, and `#DIGEST`, which `aakit push` prints, with its bytes."


def _data(about: About) -> Iterator[str]:
    known = about.metadata.about
    for name in known.trained_on:
        yield f"- {inert(name)}: {inert(about.data_licences.get(name, 'see its page for the licence'))}"
    if known.loop == 0 and about.remembers:
        yield "It was trained on nothing: it was taught by the normal images that it remembers."
    elif not (known.trained_on or about.manifest.get("data")):
        yield "The model does not say what it was trained on."
    elif known.unknown_start:
        yield "It started from weights that do not say all that they were trained on."
    rows = [
        (str(role), str(name), *(str(counts.get(label, 0)) for label in ("normal", "anomalous")))
        for role, record in _tables(about.manifest.get("data"))
        for name, counts in _tables(record.get("counts"))
    ]
    if rows:
        yield "\n" + markdown_table(("role", "class", "normal", "anomalous"), rows)
    seeds = about.manifest.get("seeds") or {"seed": about.tables.get("seed", MISSING)}
    yield f"Seeds: {inert(', '.join(f'{name} {value}' for name, value in seeds.items()))}."


def _tables(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of a table that are tables themselves."""
    if isinstance(value, dict):
        yield from ((key, item) for key, item in value.items() if isinstance(item, dict))


def _measured(about: About) -> Iterator[str]:
    own = about.metrics.get("own")
    if own is None:
        yield "Nothing was measured beside the thresholds."
        return
    rows = [(name, *_figures(of)) for name, of in _tables(own.get("classes"))]
    rows.append(("mean", *_figures(own.get("mean"))))
    if isinstance(before := about.metrics.get("before"), dict):
        rows.append(("mean before training", *_figures(before.get("mean"))))
    rows += [
        (f"mean of the rule {name}", *_figures(of.get("mean"))) for name, of in _tables(about.metrics.get("rules"))
    ]
    told = "Fractions of one run and one seed, so without an interval: another seed gives other figures."
    if about.seeds:
        rows += _over_seeds(about.seeds, about.metadata.about.loop)
        told = "Fractions; the interval is Student's, over the seeds, for these classes."
    yield markdown_table(("test class", *METRICS.values()), rows)
    yield told
    yield "The rules know nothing of defects: a figure that does not beat them says little."


def _over_seeds(runs: Sequence[FinishedRun], loop: int | None) -> Iterator[tuple[str, ...]]:
    means = [run.result(loop)["mean"] for run in runs]
    columns = [np.array([[of.get(metric)] for of in means], float) for metric in METRICS]
    averages = dict(zip(METRICS, map(mean_difference, columns), strict=True))
    ends = (MISSING if (of := t_interval(one)) is None else f"{of.low:.3f} to {of.high:.3f}" for one in columns)
    yield f"mean of {len(runs)} seeds", *_figures(averages)
    yield "95 % interval of that", *ends


def _figures(of: Any) -> list[str]:
    values = [of.get(metric) if isinstance(of, dict) else None for metric in METRICS]
    return [f"{value:.3f}" if isinstance(value, float | int) else MISSING for value in values]


def _thresholds(about: About) -> Iterator[str]:
    calibration = about.metadata.calibration
    if calibration is None:
        yield "It has none: `aakit calibrate` chooses them on good photographs of your own."
        return
    chosen: dict[What, float | None] = {"image": calibration.image_threshold, "map": calibration.map_threshold}
    for what, value in chosen.items():
        if value is None:
            reason = calibration.reasons.get(f"{what}_threshold", "not known")
            yield f"- {what}: none ({inert(shortened(reason, 200))})"
        else:
            yield f"- {what}: {value:.6g}, {inert(origin(calibration, what))}"
    yield ""
    yield f"They are for {inert(in_short(calibration.classes or ('objects that it does not name',)))} alone."


def _licence(about: About) -> Iterator[str]:
    if about.licence is None:
        yield "None is stated yet. Whoever has pushed this model states one, or nobody may use it."
    else:
        yield f"The trained weights: {about.licence}."
    yield "The licences of the backbone and of the data that it was trained on bind as well."


def _versions(about: About) -> Iterator[str]:
    versions = about.manifest.get("versions") or about.versions
    yield inert(", ".join(f"{name} {version}" for name, version in versions.items())) + "."
    keys = len(by_key(dict(about.tables)))
    yield f"All {keys} settings are in experiment.toml, and aakit.json pins the SHA-256 of every file but this one."
