"""Device and precision: what is chosen, what is refused, what autocast does."""

from __future__ import annotations

import pytest
import torch

from aaclip_kit import UserError
from aaclip_kit.distributed.compute_device import ComputeDevice


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if torch saw two CUDA devices that have bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    return monkeypatch


@pytest.mark.usefixtures("no_cuda")
def test_auto_is_the_cpu_in_single_precision_without_cuda() -> None:
    place = ComputeDevice.choose("auto", "auto")
    assert (place.device, place.precision, str(place)) == (torch.device("cpu"), "fp32", "CPU, fp32")


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_is_refused_where_there_is_none(device: str) -> None:
    with pytest.raises(UserError, match=f"device is '{device}'.*no CUDA device") as caught:
        ComputeDevice.choose(device, "auto")
    assert caught.value.where == "device" and "cpu" in (caught.value.fix or "")


@pytest.mark.usefixtures("two_cards")
def test_auto_is_cuda_in_bf16_where_there_is_one() -> None:
    assert ComputeDevice.choose("auto", "auto") == ComputeDevice(torch.device("cuda"), "bf16")
    assert ComputeDevice.choose("cuda:1", "fp16") == ComputeDevice(torch.device("cuda:1"), "fp16")
    assert ComputeDevice.choose("cpu", "auto") == ComputeDevice(torch.device("cpu"), "fp32")


@pytest.mark.usefixtures("two_cards")
def test_a_device_number_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no 'cuda:2': 2 CUDA devices"):
        ComputeDevice.choose("cuda:2", "auto")


def test_a_card_that_only_emulates_bf16_runs_in_single_precision(two_cards: pytest.MonkeyPatch) -> None:
    two_cards.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert ComputeDevice.choose("cuda", "auto").precision == "fp32"


@pytest.mark.parametrize(
    ("precision", "dtype", "scales"),
    [("fp32", torch.float32, False), ("bf16", torch.bfloat16, False), ("fp16", torch.float16, True)],
)
def test_autocast_and_loss_scaling_go_with_the_precision(precision: str, dtype: torch.dtype, scales: bool) -> None:
    place = ComputeDevice.choose("cpu", precision)
    with place.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert place.gradient_scaler().is_enabled() == scales


def test_the_cards_name_is_told(two_cards: pytest.MonkeyPatch) -> None:
    two_cards.setattr(torch.cuda, "get_device_name", lambda device: f"Card of {device}")
    assert str(ComputeDevice.choose("cuda:1", "fp16")) == "Card of cuda:1, fp16"
    assert str(ComputeDevice.choose("cpu", "bf16")) == "CPU, bf16"
