"""`aakit doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aaclip_kit.doctor.examine import Finding

from ..command import Command
from ..fresh import Fresh
from ..strangers import Strangers

MODULE = "aaclip_kit.cli.doctor"
GOOD = Finding("python", "good", "3.11.7, [a] of b")
NOTE = Finding("cuda", "note", "no driver", "install [one]")
BAD = Finding("plugin mine", "bad", "cannot be used: ü", "mend it")


def given(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(sys.modules[MODULE], "examine", lambda: iter(findings))


def test_the_table_says_what_to_do_below_each_that_is_not_good(aakit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, GOOD, NOTE, BAD)
    ran = aakit("doctor")
    assert ran.err == ""
    assert [line.rstrip() for line in ran.out.splitlines()] == [
        "good  python       3.11.7, [a] of b",
        "note  cuda         no driver",
        "                   -> install [one]",
        "bad   plugin mine  cannot be used: ü",
        "                   -> mend it",
    ]


def test_json_is_the_same(aakit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, GOOD, NOTE, BAD)
    ran = aakit("doctor", "--json")
    assert [Finding(**one) for one in json.loads(ran.out)["findings"]] == [GOOD, NOTE, BAD]


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize(("findings", "code"), [((GOOD, NOTE), 0), ((GOOD, BAD, NOTE), 1)])
def test_the_exit_code_tells_whether_something_is_bad(
    aakit: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], findings: tuple[Finding, ...], code: int
) -> None:
    given(monkeypatch, *findings)
    assert aakit("doctor", *options).code == code


def test_help_tells_the_exit_codes(aakit: Command) -> None:
    assert "Exit code 0 where nothing is bad, 1 where something is" in " ".join(aakit("doctor", "--help").out.split())


def test_a_finding_is_long_in_a_narrow_window(aakit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Finding("runs", "good", "/".join(["folder"] * 60))
    given(monkeypatch, long)
    out = aakit("doctor").out
    assert "".join(out.split()) == f"goodruns{long.found}"


@pytest.mark.slow
def test_the_command_really_looks_and_a_broken_plugin_shows(aakit: Command, strangers: Strangers) -> None:
    strangers.add("broken", "raise ValueError('no luck')")
    ran = aakit("doctor", "--json")
    found = {one["name"]: one for one in json.loads(ran.out)["findings"]}
    assert (ran.code, ran.err) == (1, "")
    assert found["plugin broken"]["status"] == "bad"
    assert "ValueError: no luck" in found["plugin broken"]["found"]
    looked = {"python", "packages", "extras", "torch", "torchvision", "processor", "memory", "cuda", "runs"}
    looked |= {"cache folder", "temporary folder", "kept features", "plugins", "embedded model", "fetched weights"}
    assert looked <= set(found)
    assert not [one for one in found.values() if "could not be looked at" in one["found"]]


def test_its_own_process_needs_no_torch() -> None:
    code = f"""import sys
from aaclip_kit.cli import app
sys.modules["{MODULE}"].examine = lambda: iter(())
app(["doctor"], standalone_mode=False)
print("torch" in sys.modules)"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines()[-1] == "False", ran.stderr


@pytest.mark.slow
def test_it_looks_where_it_is_installed_far_from_the_repository(tmp_path: Path) -> None:
    fresh = Fresh(tmp_path / "venv")
    fresh.install_toolkit(tmp_path / "source")
    place = tmp_path / "place"
    place.mkdir()
    quick = [f"aaclip_kit.doctor.{name}" for name in ("installation:python", "machine:disk", "installation:plugins")]
    code = f"""import sys
from aaclip_kit.cli import main
from aaclip_kit.doctor.examine import examine
sys.modules["{MODULE}"].examine = lambda: examine({quick})
sys.argv = ["aakit", "doctor", "--json"]
main()"""
    ran = fresh.run("-c", code, cwd=place)
    found = {one["name"]: one for one in json.loads(ran.stdout)["findings"]}
    assert found["plugins"]["status"] == "good", ran.stderr
    assert str(place / "runs") in found["runs"]["found"]
    assert str(tmp_path / "venv") in found["python"]["found"]
    assert list(place.iterdir()) == []
