"""The kit itself: what it offers, what it says of wrong use, and what it costs to import."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import KINDS, Kind
from aaclip_kit.testing import Broken, Check, checks_of, conformance, tiny_experiment
from aaclip_kit.testing.subject import Subject, find_subject

from .broken import losses, stages

STAGES = Path(stages.__file__)
LOSSES = Path(losses.__file__)


@pytest.mark.parametrize("kind", KINDS)
def test_the_checks_of_a_kind_are_numbered_and_each_has_a_function(kind: Kind) -> None:
    checks = checks_of(kind)
    (letter,) = {check.id[0] for check in checks}
    assert [check.id for check in checks] == [f"{letter}{number}" for number in range(1, len(checks) + 1)]
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert re.fullmatch(r"[a-z0-9-]+", check.name)
        assert check.kind == kind and check.promise.endswith(".") and check.mend
        module, _, attribute = check.function.partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_each_kind_has_a_letter_of_its_own() -> None:
    assert len({checks_of(kind)[0].id for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("module", ["aaclip_kit.testing", "aaclip_kit.testing.pytest_plugin"])
def test_importing_it_needs_no_torch_and_reading_the_contracts_neither(module: str) -> None:
    code = (
        f"import sys, {module}\nfrom aaclip_kit.testing import checks_of\n"
        "from aaclip_kit.plugin_host.registry import KINDS\n"
        "assert all(map(checks_of, KINDS))\nprint('torch' in sys.modules, 'pytest' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["False", str(module.endswith("pytest_plugin"))], ran.stderr


def test_without_pytest_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(UserError, match="runs in pytest, which is not installed"):
        conformance("loss", "dice")


def test_a_component_or_kind_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no kind 'losses'") as kind:
        conformance("losses", "dice")  # type: ignore[arg-type]
    assert "did you mean 'loss'?" in str(kind.value)
    with pytest.raises(UserError, match="no loss called 'dize'") as name:
        conformance("loss", "dize")
    assert "did you mean 'dice'?" in str(name.value)


def test_options_that_the_component_refuses_are_the_tests_own_fault() -> None:
    with pytest.raises(UserError) as error:
        conformance("loss", "dice", options={"smooth": 0, "smoth": 1})
    assert "options: smooth: " in str(error.value) and "did you mean 'smooth'?" in str(error.value)


def test_a_file_that_is_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        conformance("loss", "dice", plugin_file=tmp_path / "none.py")


def test_there_is_a_case_for_each_check_named_by_it() -> None:
    mark = conformance("attention-stage", "good", plugin_file=STAGES).mark
    assert mark.name == "parametrize" and mark.args[0] == "check"
    assert [case.id for case in mark.args[1]] == [check.label for check in checks_of("attention-stage")]


def test_what_does_not_apply_is_skipped_with_a_reason() -> None:
    mark = conformance("attention-stage", "residual_adapter").mark
    (case,) = [case.values[0] for case in mark.args[1] if case.id.endswith("mask-is-obeyed")]
    with pytest.raises(pytest.skip.Exception, match="the stage has no context"):
        case()


def test_a_stage_gets_a_site_where_its_options_need_one_and_it_gives_none() -> None:
    assert find_subject("attention-stage", "residual_adapter", None, None).table == {"tower": "text", "after": [0]}
    assert find_subject("attention-stage", "good", None, STAGES).table == {"after": [0]}
    given = {"tower": "vision", "after": [2]}
    assert find_subject("attention-stage", "residual_adapter", given, None).table == given


def raises(subject: Subject) -> None:
    raise ZeroDivisionError("by\n\nzero")


def test_an_exception_of_the_component_is_chained_and_told_in_one_line() -> None:
    promise, function = "It divides by nothing.", f"{__name__}:raises"
    check = Check(kind="loss", id="L0", name="never-divides", promise=promise, mend="do not divide", function=function)
    with pytest.raises(Broken) as broken:
        check.run(find_subject("loss", "dice", None, None))
    assert isinstance(broken.value.__cause__, ZeroDivisionError)
    assert str(broken.value).splitlines() == [
        "loss 'dice' breaks its contract: L0 never divides",
        "  found: ZeroDivisionError was raised: by zero",
        "  contract: It divides by nothing. (docs/plugins/kinds/loss.md, L0)",
        "  mend: do not divide",
    ]


def test_an_exception_that_the_engine_has_put_into_words_is_told_in_them() -> None:
    subject = find_subject("loss", "knows_its_side", None, LOSSES)
    with pytest.raises(Broken, match=r"found: its forward raised RuntimeError: shape '\[2, 1, 16, 16\]' is invalid"):
        next(check for check in checks_of("loss") if check.id == "L10").run(subject)


def test_a_refusal_is_told_in_its_own_words() -> None:
    subject = find_subject("attention-stage", "text_to_image", {"heads": 7}, None)
    with pytest.raises(Broken, match="it was refused: 7 heads do not divide the text width 64"):
        checks_of("attention-stage")[1].run(subject)


def test_the_tiny_experiment_takes_other_tables(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(STAGES.read_text())
    stage = {"use": "good", "after": [1]}
    experiment = load(tiny_experiment(tmp_path, stages={"mine": stage}, plugins=["own.py"], seed=5), discover())
    assert experiment.file.seed == 5
    assert experiment.stages["mine"].component.plugin.package == "own.py"
    assert {name: one.component.name for name, (one,) in experiment.data.items()} == {
        "train": "folder",
        "test": "folder",
    }
