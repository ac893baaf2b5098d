"""Files of weights: what is read, what is refused, and with which torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aaclip_kit import UserError, read_weights
from aaclip_kit.files.weights_file import TRUST, reads_safely


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    return tmp_path / "a.pth"


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUST, raising=False)


@pytest.mark.parametrize(
    ("version", "safe"),
    [("2.6.0", False), ("2.9.1+cu128", False), ("2.10.0a0+git1", True), ("2.10.0", True), ("2.15.0+cpu", True)],
)
def test_versions_whose_reader_is_safe(version: str, safe: bool) -> None:
    assert reads_safely(version) == safe


def test_a_torch_whose_reader_is_not_safe_reads_what_the_user_trusts_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    for told in ("", "0", "yes"):
        monkeypatch.setenv(TRUST, told)
        with pytest.raises(UserError, match=r"torch 2\.9\.1\+cu128 cannot read safely") as caught:
            read_weights(file)
        assert caught.value.where == str(file) and caught.value.fix and f"{TRUST}=1" in caught.value.fix
    monkeypatch.setenv(TRUST, "1")
    assert torch.equal(read_weights(file)["a"], torch.ones(2))


def test_a_safe_reader_needs_no_trust(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert torch.equal(read_weights(file)["a"], torch.ones(2))


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_for_the_code_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")
    torch.jit.script(Scripted()).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="refused, since loading it could run its code"):
        read_weights(tmp_path / "a.pt")


def test_a_file_that_is_cut_short_is_damaged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged, or no file of weights"):
        read_weights(file)


def test_safetensors_need_no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(read_weights(tmp_path / "a.safetensors")["a"], torch.ones(2))


def test_safetensors_that_are_cut_short_are_damaged(tmp_path: Path) -> None:
    save_file({"a": torch.ones(200)}, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:200])
    with pytest.raises(UserError, match="damaged, or no file of weights"):
        read_weights(tmp_path / "a.safetensors")


def test_a_pickle_that_is_named_safetensors_is_not_read_as_a_pickle(file: Path) -> None:
    with pytest.raises(UserError, match="damaged, or no file of weights"):
        read_weights(file.rename(file.with_suffix(".safetensors")))
