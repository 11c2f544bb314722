"""Checks of arguments that the zoo's correct modules share; each message names what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_size(name: str, value: object, *, least: int = 1) -> None:
    """Raise unless `value` is an integer, no bool, and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_sizes(**sizes: object) -> None:
    """Raise unless every size is a positive integer."""
    for name, value in sizes.items():
        check_size(name, value)


def check_flag(name: str, value: object) -> None:
    """Raise unless `value` is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")


def check_probability(name: str, value: object) -> None:
    """Raise unless `value` is a real number, no bool, in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} should be a number in range [0, 1], got: {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} should be a number in range [0, 1], got {value}")


def check_nonlinearity(value: object) -> None:
    """Raise unless `value` is "tanh" or "relu"."""
    if value not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity {value!r}: expected 'tanh' or 'relu'")


def check_floating_dtype(dtype: torch.dtype) -> None:
    """Raise unless `dtype` is a real floating point type."""
    if not dtype.is_floating_point:
        raise TypeError(f"dtype should be a floating point type, got {dtype}")


def check_tensor(name: str, value: object) -> Tensor:
    """Return `value`, which must be a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} should be a tensor, got: {type(value).__name__}")
    return value


def check_rank(name: str, tensor: Tensor, ranks: Sequence[int]) -> None:
    """Raise unless the tensor has one of the ranks."""
    if tensor.dim() not in ranks:
        expected = " or ".join(f"{rank}D" for rank in ranks)
        raise ValueError(f"Expected {name} to be {expected}, got {tensor.dim()}D of shape {tuple(tensor.shape)}")


def check_shape(name: str, tensor: Tensor, expected: Sequence[int]) -> None:
    """Raise unless the tensor has exactly this shape: nothing is broadcast."""
    if tuple(tensor.shape) != tuple(expected):
        raise RuntimeError(f"Expected {name} size {tuple(expected)}, got {tuple(tensor.shape)}")


def check_features(name: str, tensor: Tensor, expected: int) -> None:
    """Raise unless the last dimension has the expected size."""
    if tensor.size(-1) != expected:
        raise RuntimeError(f"{name}.size(-1) must be equal to input_size. Expected {expected}, got {tensor.size(-1)}")


def check_length(name: str, length: int) -> None:
    """Raise unless there is at least one time step."""
    if length < 1:
        raise RuntimeError(f"Expected {name} to have a sequence length larger than 0, got {length}")


def check_like(name: str, tensor: Tensor, weight: Tensor) -> None:
    """Raise unless the tensor has the weight's dtype and device.

    Autocast chooses dtypes by itself, so only the device is checked where it is on.
    """
    if tensor.device != weight.device:
        raise RuntimeError(f"Expected {name} on the weights' device {weight.device}, got {tensor.device}")
    if tensor.dtype == weight.dtype:
        return
    kind = tensor.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if not (autocast and tensor.is_floating_point()):
        raise ValueError(f"Expected {name} of the weights' dtype {weight.dtype}, got {tensor.dtype}")


def check_sequence(input: object, features: int, weight: Tensor, *, length_dim: int) -> Tensor:
    """Return `input`, which must be a batch of sequences: three dimensions, one of them time, not empty."""
    tensor = check_tensor("input", input)
    check_rank("input", tensor, (3,))
    check_features("input", tensor, features)
    check_length("input", tensor.size(length_dim))
    check_like("input", tensor, weight)
    return tensor
