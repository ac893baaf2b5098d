"""The public API: what a plugin may rely on, and how it changes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import aaclip_kit
from aaclip_kit import OptimizerPlan, Prediction, RatePlan, StageSetting
from aaclip_kit.contracts.deprecation import DEPRECATED, Deprecated


def test_a_deprecated_name_works_and_warns_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEPRECATED, "OldName", Deprecated("Options", "3.0", lambda: aaclip_kit.Options))
    with pytest.warns(DeprecationWarning, match=r"aaclip_kit\.OldName will be gone in API 3\.0; use Options") as caught:
        assert aaclip_kit.OldName is aaclip_kit.Options  # type: ignore[attr-defined]
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning):
        from aaclip_kit import OldName  # type: ignore[attr-defined]  # noqa: F401


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


def test_arguments_and_attributes_that_were_renamed_work_and_warn_where_they_are_used() -> None:
    with pytest.warns(DeprecationWarning, match=r"^OptimizerPlan\.rate will be gone in API 3\.0") as caught:
        plan = OptimizerPlan("adamw", rate=0.5)  # type: ignore[call-arg]
    assert caught[0].filename == __file__ and plan == OptimizerPlan("adamw", learning_rate=0.5)
    with pytest.warns(DeprecationWarning, match="use OptimizerPlan.learning_rate") as caught:
        assert plan.rate == 0.5
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use RatePlan.at_fractions or RatePlan.at_steps"):
        milestones = RatePlan("milestones", at=(0.5, 1.0, 30.0))  # type: ignore[call-arg]
    assert (milestones.at_fractions, milestones.at_steps) == ((0.5, 1.0), (30,))
    with pytest.warns(DeprecationWarning):
        assert milestones.at == (0.5, 1.0, 30)
    widths = {"width": 4, "text_width": 6, "vision_width": 4, "image_context_width": 5}
    with pytest.warns(DeprecationWarning, match=r"use StageSetting\.text_width"):
        setting = StageSetting(tower="vision", after=0, text_context_width=6, **widths)  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning):
        assert setting.text_context_width == setting.text_width == 6


def test_the_fields_of_a_prediction_are_there_under_their_old_names() -> None:
    found = Prediction(
        path=Path("a.png"), pred_score=0.5, threshold=0.5, max_value=2.0,
        anomaly_map=np.array([[1.0, 2.0]], np.float32), map_threshold=1.5,
    )  # fmt: skip
    assert (found.decision, found.mask is not None and found.mask.tolist()) == ("anomalous", [[False, True]])
    for old, new in (("score", "pred_score"), ("map", "anomaly_map"), ("largest", "max_value")):
        with pytest.warns(DeprecationWarning, match=rf"Prediction\.{old} .* use Prediction\.{new}"):
            assert getattr(found, old) is getattr(found, new)


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
