"""Devices by name."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from rnn_props.devices import Device, DeviceNameError, available, choose, names, parse, sim, why_not


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that sees two CUDA devices."""
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that was built with CUDA, on a machine without."""
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def test_a_name_means_its_device() -> None:
    assert parse("cpu") == (Device("cpu", "cpu"),)
    assert parse(" SIM ") == (Device("sim", "sim"),)
    assert parse("mps:0") == (Device("mps", "mps"),)
    assert parse("cuda:3") == (Device("cuda:3", "cuda"),)
    assert str(Device("cuda:3", "cuda")) == "cuda:3"


def test_cuda_is_whichever_gpu_there_is(cuda: None) -> None:
    assert [device.name for device in parse("cuda")] == ["cuda"]
    assert why_not("cuda") is None


def test_devices_that_are_not_there_are_chosen_with_the_reason(no_cuda: None) -> None:
    assert choose(["cuda", "cpu", "cuda"]) == [
        Device("cuda", "cuda", "torch sees no CUDA device"),
        Device("cpu", "cpu"),
    ]


def test_each_device_is_chosen_once(cuda: None) -> None:
    assert [device.name for device in choose(["all", "cpu", "cuda:1"])] == ["cpu", "sim", "cuda", "cuda:1"]


def test_all_means_what_is_there(cuda: None) -> None:
    found = [device.name for device in parse("all")]
    assert found == [device.name for device in available()]
    assert found[:3] == ["cpu", "sim", "cuda"]


def test_what_is_there_can_be_used() -> None:
    for device in available():
        assert torch.ones(2, device=device.name).sum().item() == 2


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("cdua", " (did you mean 'cuda'?)"),
        ("gpu", " (did you mean 'cuda'?)"),
        ("gpu:2", " (did you mean 'cuda:2'?)"),
        ("cudaa:1", " (did you mean 'cuda:1'?)"),
        ("simulated", " (did you mean 'sim'?)"),
        ("al", " (did you mean 'all'?)"),
        ("tensorflow", ""),
        ("", ""),
    ],
)
def test_what_is_no_device_is_told_with_the_closest_name(text: str, guess: str) -> None:
    with pytest.raises(DeviceNameError) as raised:
        parse(text)
    assert str(raised.value) == (
        f"'{text}' is not a device{guess}; "
        "there are 'cpu', 'sim', 'mps', 'cuda', 'cuda:1' for one of several GPUs, and 'all' for those that are there"
    )


def test_there_is_one_cpu() -> None:
    with pytest.raises(DeviceNameError, match=r"^'cpu:1' is not a device: there is one 'cpu'; write 'cpu'$"):
        parse("cpu:1")


def test_a_device_that_is_not_there_has_a_reason(cuda: None) -> None:
    assert why_not("cpu") is None
    assert why_not("cuda:1") is None
    assert why_not("cuda:2") == "torch sees 2 CUDA devices, up to cuda:1"


def test_a_torch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert why_not("cuda:0") == f"torch {torch.__version__} is built without CUDA"


def test_a_torch_without_mps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    assert why_not("mps") == f"torch {torch.__version__} is built without MPS"
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert why_not("mps") == "torch sees no MPS device: it needs macOS on Apple silicon"


def test_a_torch_that_lacks_a_part_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C._acc, "DeviceGuard")
    lacks = f"torch {torch.__version__} has no devices that are written in Python: it lacks torch._C._acc.DeviceGuard"
    assert why_not("sim") == lacks
    assert "sim" not in [device.name for device in available()]
    with pytest.raises(sim.UnavailableError, match=r"it lacks torch._C._acc.DeviceGuard$"):
        sim.set_up()


def test_a_process_with_another_foreign_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_get_privateuse1_backend_name", lambda: "npu")
    assert why_not("sim") == "torch has one place for a foreign device, and in this process 'npu' has it"


def test_every_kind_is_known() -> None:
    assert [parse(kind)[0].kind for kind in names.KINDS] == list(names.KINDS)


def test_a_torch_in_which_it_does_not_work_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "is_set_up", lambda: False)
    monkeypatch.setattr(sim.private, "claim", lambda name, module: None)
    monkeypatch.setattr(sim.kernels, "install", lambda: None)
    monkeypatch.setattr(sim, "DEVICE", "cpu")
    monkeypatch.setattr(sim.private, "taken_by", lambda: None)
    monkeypatch.setattr(sim, "_failure", None)
    sim.set_up()
    monkeypatch.setattr(Tensor, "tolist", lambda self: [1.0])
    message = f"devices that are written in Python do not work in torch {torch.__version__}: they give [[1.0], 'cpu', "
    for _ in range(2):
        with pytest.raises(sim.UnavailableError, match=f"^{re.escape(message)}"):
            sim.set_up()
    assert why_not("sim") == sim.why_not() is not None
