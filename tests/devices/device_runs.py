"""Running the same code on the CPU and on the simulated device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_props.devices import sim


def moved(value: Any) -> Any:
    """Tensors and modules, however deep, on the simulated device; copies, leaves again."""
    if isinstance(value, nn.Module):
        return sim.move(copy.deepcopy(value))
    if isinstance(value, Tensor):
        return value.detach().to("sim").requires_grad_(value.requires_grad)
    if isinstance(value, PackedSequence):
        return value.to("sim")
    if isinstance(value, tuple | list):
        return type(value)(moved(item) for item in value)
    return value


def leaves(value: Any) -> list[Any]:
    if isinstance(value, PackedSequence):
        return [value.data, value.batch_sizes.tolist()]
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def assert_same(expected: Any, actual: Any, *, atol: float = 0.0, layout: bool = True) -> None:
    """The CPU's results and the device's: equal to the bit, or within `atol` of the largest element.

    Args:
        layout: strides and offsets too.
    """
    for want, got in zip(leaves(expected), leaves(actual), strict=True):
        if not isinstance(want, Tensor):
            assert want == got
            continue
        assert got.device == torch.device("sim:0")
        assert (got.shape, got.dtype, got.requires_grad) == (want.shape, want.dtype, want.requires_grad)
        if layout:
            assert (got.stride(), got.storage_offset()) == (want.stride(), want.storage_offset())
        if atol:
            scale = max(1.0, want.abs().max().item()) if want.numel() else 1.0
            torch.testing.assert_close(got.cpu(), want, rtol=0.0, atol=atol * scale)
        else:
            torch.testing.assert_close(got.cpu(), want, rtol=0.0, atol=0.0, equal_nan=True)


def on_both(function: Callable[..., Any], *args: Any, seed: int = 0) -> tuple[Any, Any]:
    """The results of a function on the CPU and on the simulated device, under the same seed."""
    there = moved(args)
    torch.manual_seed(seed)
    expected = function(*args)
    torch.manual_seed(seed)
    return expected, function(*there)
