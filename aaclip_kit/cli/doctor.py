"""`aakit doctor`: what of this machine and this installation works, and what to do about the rest."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Column
from rich.text import Text
from typer import Exit, Option

from ..doctor.examine import Finding, examine
from .terminal import PlainConsole, plain_table, say_lines

_STYLES = {"good": "green", "note": "yellow", "bad": "red"}


def doctor(as_json: bool = Option(False, "--json", help="Print JSON.")) -> None:
    """Look at Python, packages, CUDA, memory, disk, plugins and weights, and say what to do about what is wrong.

    Exit code 0 where nothing is bad, 1 where something is. Nothing is fetched and nothing is changed.
    """
    findings = []
    with PlainConsole(stderr=True).status("looking") as status:
        for finding in examine():
            findings.append(finding)
            status.update(f"looked at: {finding.name}")
    if as_json:
        say_lines(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _show(findings)
    if any(finding.status == "bad" for finding in findings):
        raise Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    table = plain_table(Column(no_wrap=True), Column(no_wrap=True), Column(overflow="fold"))
    table.show_header = False
    for finding in findings:
        table.add_row(Text(finding.status, _STYLES[finding.status]), Text(finding.name), Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"-> {finding.advice}", _STYLES[finding.status]))
    PlainConsole().print(table)
