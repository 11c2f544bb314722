"""Making a device usable in a process."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnn_props.devices import sim
from rnn_props.devices.names import kind_of


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
        _warm_up(name)
        cudnn: Any = torch.backends.cudnn
        settings: Any = (torch.backends.cuda.matmul, torch.backends.cudnn)
        tf32 = any(item.allow_tf32 for item in settings)
        for item in settings:  # RP806 turns it on, and judges by another bound
            item.allow_tf32 = False
        properties = torch.cuda.get_device_properties(torch.device(name))
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


def _warm_up(name: str) -> None:
    """The first calls load kernels, for seconds."""
    x = torch.zeros(2, 2, 2, device=name, requires_grad=True)
    for module in (torch.nn.LSTM(2, 2), torch.nn.GRU(2, 2)):
        output, _ = module.to(name)(x)
        output.sum().backward()
    float((x @ x).sum())
