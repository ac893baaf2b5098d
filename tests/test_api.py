"""The public API: what a plugin may rely on, and how it changes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import aaclip_kit
from aaclip_kit.plugin_host.deprecation import DEPRECATED, Deprecated


def test_a_deprecated_name_works_and_warns_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEPRECATED, "OldName", Deprecated(lambda: aaclip_kit.Options, "Options", "2.0"))
    with pytest.warns(DeprecationWarning, match=r"aaclip_kit\.OldName will be gone in API 2\.0; use Options") as caught:
        assert aaclip_kit.OldName is aaclip_kit.Options
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning):
        from aaclip_kit import OldName  # noqa: F401


def test_names_that_stay_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in aaclip_kit.__all__:
            getattr(aaclip_kit, name)


def test_deprecated_names_are_none_of_the_listed_ones_and_go_in_a_later_major_version() -> None:
    assert not set(DEPRECATED) & set(aaclip_kit.__all__)
    major = int(aaclip_kit.API_VERSION.partition(".")[0])
    for name, found in DEPRECATED.items():
        assert int(found.gone_in.partition(".")[0]) > major, name


WRONG = """
from torch import Tensor
from aaclip_kit import AttentionStage, Context, Loss, StageOptions, StageSetting, hookimpl, no_such_name

class Options(StageOptions):
    strength: float = 0.1

class Stage(AttentionStage):
    def __init__(self, options: Options, setting: StageSetting) -> None:
        super().__init__()
        self.width: str = setting.width

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens

class Mine(Loss):
    needs = ("level_probability",)

    def forward(self, level_probability: Tensor) -> Tensor:
        return level_probability
"""


@pytest.mark.slow
def test_a_type_checker_tells_a_plugin_what_breaks_the_contract(tmp_path: Path) -> None:
    """That plugins without a fault pass is shown by the packages of tests/third_party and of `aakit new-plugin`."""
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(file)]
    # Type checkers do not follow setuptools' editable installs, so that they are told where the package is.
    package = Path(aaclip_kit.__file__).parents[1]
    environment = {**os.environ, "MYPYPATH": "" if package.name == "site-packages" else str(package)}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("wrong.py:")]
    errors = {int(line.split(":")[1]): line for line in lines if ": error: " in line}
    found = {WRONG.splitlines()[number - 1].strip(): text for number, text in errors.items()}
    assert 'has no attribute "no_such_name"' in found[WRONG.splitlines()[2]]
    assert "incompatible with supertype" in found["def forward(self, tokens: Tensor) -> Tensor:"]
    assert "[assignment]" in found["self.width: str = setting.width"]
    assert "[assignment]" in found['needs = ("level_probability",)']
