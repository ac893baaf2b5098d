"""Folders of runs whose JSON files were altered: a report or a comparison, or one plain error, and soon."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaclip_kit.comparison.compare import compare
from aaclip_kit.comparison.finished_runs import gather, warnings_of
from aaclip_kit.report.page import write_report
from aaclip_kit.run.resume import check_same, lacks_report, unfinished

from .cases import VALUES, fuzzed, result_of

FILES = ["manifest.json", "metrics.json", "curves.json", "calibration.json", "attention.json", "events.jsonl"]


@st.composite
def altered(draw: st.DrawFn, whole: Any) -> Any:
    """The same data with a few values replaced or taken out, at any depth."""
    data = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = {"": data}
        at: Any = ""
        while isinstance(node[at], dict | list) and node[at] and draw(st.integers(0, 4)):
            node = node[at]
            at = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if draw(st.booleans()) and at != "":
            del node[at]
        elif at == "":
            data = draw(VALUES)
        else:
            node[at] = draw(VALUES)
    return data


def written(name: str, data: Any) -> str:
    lines = data if name.endswith("l") and isinstance(data, list) else [data]
    return "".join(json.dumps(line) + "\n" for line in lines)


def read(path: Path) -> Any:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
    return lines if lines is not None else json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", FILES)
@fuzzed(0.05)
@given(data=st.data())
def test_a_folder_of_altered_files_has_a_report_or_one_plain_error(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("altered")
    try:
        run = Path(shutil.copytree(trained, place / "run"))
        (run / name).write_text(written(name, data.draw(altered(read(run / name)))))
        result_of(write_report, run)
        result_of(lambda: compare(gather([run, trained]), None, None, []))
        result_of(warnings_of, run)
        result_of(lacks_report, run)
        result_of(unfinished, run)
        result_of(check_same, run, {"backbone:open_clip": "1"}, {"train": {"sha256": "a"}})
    finally:
        shutil.rmtree(place)
