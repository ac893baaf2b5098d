"""Tables of the documentation from finished ablations; only the text between a page's markers is replaced.

aakit ablate experiments/switches.toml --out OUT; python benchmarks/studies.py switches OUT
aakit ablate experiments/ablation.toml --out OUT; python benchmarks/studies.py ablation OUT
aakit ablate benchmarks/attention_stages.toml --out OUT; python benchmarks/studies.py attention_stages OUT
aakit ablate experiments/family.toml --out OUT --jobs 2; python benchmarks/studies.py family OUT

They write into switches.md, results.md, attention-stages.md and family.md of docs/notebook.
"""

import argparse
import re
import sys
from pathlib import Path

from aaclip_kit import UserError
from aaclip_kit.comparison.ablation_plan import StudyFile, read_study
from aaclip_kit.comparison.compare import Comparison, Difference, compare
from aaclip_kit.comparison.finished_runs import Group, finished_variants, gather
from aaclip_kit.comparison.write import COST_HEADS, cost_rows, markdown_table, signed, span, spread
from aaclip_kit.evaluation.class_metrics import heading

ROOT = Path(__file__).parents[1]
FILES = {
    "switches": "experiments/switches.toml",
    "ablation": "experiments/ablation.toml",
    "attention_stages": "benchmarks/attention_stages.toml",
    "family": "experiments/family.toml",
}
PAGES = {
    "switches": "switches.md",
    "ablation": "results.md",
    "attention_stages": "attention-stages.md",
    "family": "family.md",
}
BASELINES = {
    "switches": ("corrected",),
    "ablation": ("base", "feedback"),
    "attention_stages": ("built_in", "no_stage"),
    "family": ("base",),
}
METRICS = ("pixel_auroc", "image_auroc")


def main() -> None:
    """Write the tables of one study into its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=PAGES)
    parser.add_argument("out", type=Path, help="folder of the ablation")
    parser.add_argument("--page", type=Path, help="page that gets the tables instead of that in docs/notebook")
    arguments = parser.parse_args()
    page = arguments.page or ROOT / "docs" / "notebook" / PAGES[arguments.study]
    try:
        text = tables(arguments.study, arguments.out)
        page.write_text(between_markers(page.read_text(encoding="utf-8"), arguments.study, text), encoding="utf-8")
    except UserError as error:
        sys.exit(f"error: {error}")
    print(text)


def tables(study: str, out: Path) -> str:
    """A table for each data set that `out` holds and each baseline of the study."""
    file = read_study(ROOT / FILES[study])
    parts = []
    for data in ("", *file.data):
        groups = _groups(out / data, file)
        for baseline in BASELINES[study]:
            if baseline in {group.label for group in groups}:
                found = compare(groups, baseline, metrics=METRICS)
                parts += [_caption(data, baseline, groups), *(table(found, metric) for metric in METRICS)]
    if not parts:
        raise UserError("holds no finished run of this study", where=str(out), fix=f"aakit ablate {FILES[study]}")
    return "\n".join(parts)


def table(comparison: Comparison, metric: str) -> str:
    """One row a variant: seeds, mean, difference, both intervals, what they show, and what a run took if it says so."""
    costs = {label: cells for label, *cells in cost_rows(comparison)}
    heads = (
        "variant", "seeds", f"{heading(metric)}, mean ± sd", "difference", "95 %, seeds and classes", "95 %, seeds",
        "difference is", *(COST_HEADS[1:] if costs else ()),
    )  # fmt: skip
    rows = []
    for label, group in comparison.groups.items():
        found = comparison.differences.get(label, {}).get(metric)
        figures = (str(len(group.runs)), spread(comparison.summaries[label][metric]), *_cells(found))
        rows.append((label, *figures, *costs.get(label, ())))
    return markdown_table(heads, rows)


def between_markers(page: str, name: str, text: str) -> str:
    """The page with the text between its markers replaced. Raises `UserError` where they are not there once."""
    pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    if len(re.findall(pattern, page, re.DOTALL)) != 1:
        raise UserError(f"the page needs the markers <!-- begin {name} --> and <!-- end {name} --> once", where="page")
    return re.sub(pattern, lambda found: f"{found[1]}{text}{found[2]}", page, flags=re.DOTALL)


def _groups(folder: Path, file: StudyFile) -> list[Group]:
    return gather(finished_variants(folder, file.variants))


def _caption(data: str, baseline: str, groups: list[Group]) -> str:
    seeds = sorted({seed for group in groups for seed in group.runs})
    on = f"on `{data}`" if data else "on drawn and blended data"
    return f"Against `{baseline}` {on}, seeds {seeds[0]} to {seeds[-1]}:\n"


def _cells(found: Difference | None) -> tuple[str, ...]:
    if found is None:
        return ("", "", "", "baseline")
    drawn = span(found.bootstrap) if found.classes_drawn else "too few classes"
    return (signed(found.mean, found.verdict.decimals), drawn, span(found.over_seeds), found.verdict.kind)


if __name__ == "__main__":
    main()
