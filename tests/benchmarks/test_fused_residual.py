"""The benchmark of the fused kernel: what it says without a GPU, and what it compares on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from .conftest import FOLDER


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "fused_residual.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.slow
def test_without_a_gpu_it_says_in_one_line_that_it_needs_one() -> None:
    ran = run(CUDA_VISIBLE_DEVICES="")
    assert ran.returncode == 2 and not ran.stdout
    assert ran.stderr.splitlines()[-1] == "needs a CUDA device; --cpu and --interpret do not"
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_the_kernel_is_right_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    ran = run("--interpret")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 6 and "WRONG" not in ran.stdout


def test_a_kernel_that_is_wrong_is_told(
    script: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = script("fused_residual")  # type: ignore[operator]
    cpu = torch.device("cpu")
    monkeypatch.setattr(benchmark, "_fused", benchmark._closed)
    monkeypatch.setattr(benchmark, "DTYPES", {"fp32": benchmark.DTYPES["fp32"]})
    benchmark.check(cpu, [(2, 3, 16)])
    assert "WRONG" not in capsys.readouterr().out
    monkeypatch.setattr(benchmark, "_fused", lambda tokens, update: 1.001 * benchmark._closed(tokens, update))
    with pytest.raises(SystemExit) as ended:
        benchmark.check(cpu, [(2, 3, 16)])
    assert ended.value.code == 1 and "WRONG" in capsys.readouterr().out
