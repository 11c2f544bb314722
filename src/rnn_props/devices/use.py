"""Making a device usable in a process."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from rnn_props.devices import sim
from rnn_props.devices.names import kind_of

#: Of a GPU's memory, what a process takes at most, in bytes.
MEMORY_LIMIT: Final = 6 * 2**30


def set_up(name: str, number: int = 0) -> dict[str, Any]:
    """Make a device usable in this process, warm it up, and say what it is.

    Args:
        name: of the device.
        number: of the process; where the name leaves it open, GPUs are given to processes in turn.

    Returns:
        What is known of it, as JSON data.

    Raises:
        RuntimeError: it can't be used.
    """
    kind = kind_of(name)
    if kind == "sim":
        sim.set_up()
        return {"name": "simulated, with the CPU's numbers"}
    if kind == "cuda":
        if name == "cuda":
            torch.cuda.set_device(number % torch.cuda.device_count())
        properties = torch.cuda.get_device_properties(torch.device(name))
        torch.cuda.set_per_process_memory_fraction(min(1.0, MEMORY_LIMIT / properties.total_memory))
        _warm_up(name)
        cudnn: Any = torch.backends.cudnn
        settings: Any = (torch.backends.cuda.matmul, torch.backends.cudnn)
        tf32 = any(item.allow_tf32 for item in settings)
        for item in settings:  # RP806 turns it on, and judges by another bound
            item.allow_tf32 = False
        return {
            "name": properties.name,
            "cuda": torch.version.cuda,
            "cudnn": cudnn.version(),
            "tf32_by_default": tf32,
            "memory_gb": round(properties.total_memory / 2**30, 1),
        }
    if kind == "mps":
        _warm_up(name)
    return {"name": kind}


def seed(name: str, value: int) -> None:
    """Seed a device's own random numbers; those of `sim` are the CPU's."""
    if kind_of(name) == "cuda":
        torch.cuda.manual_seed(value)
    elif kind_of(name) == "mps":
        torch.mps.manual_seed(value)


def move(module: nn.Module, name: str) -> nn.Module:
    """Move a module to a device, as on the way to a real one."""
    return sim.move(module) if kind_of(name) == "sim" else module.to(name)


def give_back(name: str) -> None:
    """Let other processes have the memory of a device that this one keeps for later."""
    if kind_of(name) == "cuda":
        torch.cuda.empty_cache()
    elif kind_of(name) == "mps":
        torch.mps.empty_cache()


def why_lost(name: str) -> str:
    """Why a device can't be used by this process any more: what the first error said that tells; "" where it can.

    After a failed assertion or a wild access in one of its kernels, CUDA refuses a process everything else.
    """
    if kind_of(name) == "cpu":
        return ""
    try:
        x = torch.ones(2, 2, device=name)
        float((x @ x).sum())
    except RuntimeError as error:
        return "" if _is_out_of_memory(error) else str(error).partition("\n")[0]
    return ""


def is_crowded(name: str, error: BaseException) -> bool:
    """Whether an error says that a device is out of memory, and others have it: half of what a process may take, and
    far more than any case needs, is not there."""
    if kind_of(name) == "cpu" or not _is_out_of_memory(error):
        return False
    if kind_of(name) == "sim":
        return True
    give_back(name)
    try:
        torch.empty(MEMORY_LIMIT // 2, dtype=torch.uint8, device=name)
    except RuntimeError as again:
        return _is_out_of_memory(again)
    finally:
        give_back(name)
    return False


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "out of memory" in str(error)


def _warm_up(name: str) -> None:
    """The first calls load kernels, for seconds."""
    x = torch.zeros(2, 2, 2, device=name, requires_grad=True)
    for module in (torch.nn.LSTM(2, 2), torch.nn.GRU(2, 2)):
        output, _ = module.to(name)(x)
        output.sum().backward()
    float((x @ x).sum())
