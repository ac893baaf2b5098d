"""What `aakit predict` shows at its end: the worst images with their decisions, how many there are, and where."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..contracts.errors import MISSING
from .terminal import PlainConsole, numeric, plain_table, say

if TYPE_CHECKING:
    from ..inference.results_folder import Line
    from ..inference.score_images import Tally
    from ..inference.score_table import Summary

MOST_ROWS: Final = 20
"""Images of the table: a screen of them."""


def show_results(summary: "Summary", tally: "Tally", out: Path, *, watch: bool) -> None:
    """Print what was skipped, the worst images, worst first, and how many there are; while watching the new ones."""
    from ..data.checks import remark_on_previews, remark_on_remembered

    for remark in (*remark_on_previews(tally.previews), *remark_on_remembered(tally.remembered)):
        say(f"note        {remark}")
    for fault in tally.first_faults:
        say(f"skipped     {fault.where}: {fault.problem}")
    if tally.bad > len(tally.first_faults):
        say(f"skipped     {tally.bad - len(tally.first_faults):,} more; skipped.jsonl names them all")
    if watch:
        _print_rows(tally.worst)
    else:
        _show_worst(summary, out)
    if tally.unstated:
        many = (
            "1 line, of an older version, does"
            if tally.unstated == 1
            else f"{tally.unstated} lines, of an older version, do"
        )
        say(f"note        {many} not tell whether their images have changed")
    if tally.had_line or tally.changed:
        anew = f" ({tally.changed} had a line, and changed since)" if tally.changed else ""
        say(f"append      {tally.scored} new{anew}, {tally.had_line} had a line already")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.decisions.items()))
    say(f"wrote {out}: {kinds or 'no image'}" + (f", {tally.bad} skipped" if tally.bad else ""))
    say(f"look at {out / 'index.html'}")


def _show_worst(summary: "Summary", out: Path) -> None:
    worst = summary.worst[:MOST_ROWS]
    _print_rows(worst)
    if more := summary.images - len(worst):
        say(f"            {more:,} more score lower; {out / 'scores.csv'} has them all")
    for decision, mask in (("normal", "a mask that is not empty"), ("anomalous", "an empty mask")):
        if count := summary.disagreements[decision]:
            many = "1 image is decided {} and has" if count == 1 else f"{count} images are decided {{}} and have"
            say(f"disagree    {many.format(decision)} {mask}; scores.jsonl says which, and why")


def _print_rows(worst: "Iterable[Line]") -> None:
    rows = [
        (f"{line['score']:.4g}", line["decision"] or MISSING, _share(line["good_above"]), line["path"])
        for line in worst
    ]
    headings = ("score", "decision", "good above", "image")
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            say(f"{row[0]:>10}  {row[1]:<9}  {row[2]:>10}  {row[3]}")
        return
    PlainConsole().print(
        plain_table(*numeric(headings[:1]), headings[1], *numeric(headings[2:3]), headings[3], rows=rows)
    )


def _share(share: float | None) -> str:
    return MISSING if share is None else f"{share:.1%}"
