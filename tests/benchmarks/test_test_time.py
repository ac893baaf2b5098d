"""Where the time of the tests goes, told of a file that pytest wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .conftest import FOLDER

REPORT = """<testsuites><testsuite>
<testcase classname="tests.cli.test_run" name="test_a[x y]" time="2.5"/>
<testcase classname="tests.report.test_page" name="test_b" time="4.0"><skipped/></testcase>
<testcase classname="tests.cli.test_init" name="test_c" time="0.25"/>
<testcase classname="tests.test_api" name="test_d" time="0.5"/>
</testsuite></testsuites>"""


def test_folders_are_added_up_and_the_slowest_tests_are_named(tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(REPORT)
    command: list[str | Path] = [sys.executable, FOLDER / "test_time.py", "--read", tmp_path / "tests.xml"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split() for line in ran.stdout.splitlines()] == [
        ["folder", "tests", "seconds"],
        ["tests/report", "1", "4.0"],
        ["tests/cli", "2", "2.8"],
        ["tests", "1", "0.5"],
        ["all", "4", "7.2"],
        [],
        ["the", "10", "slowest"],
        ["4.0", "tests/report/test_page.py::test_b"],
        ["2.5", "tests/cli/test_run.py::test_a[x", "y]"],
        ["0.5", "tests/test_api.py::test_d"],
        ["0.2", "tests/cli/test_init.py::test_c"],
    ]
