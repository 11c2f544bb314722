"""Tensor specs: recipes from which the same values are made on every device.

Values are drawn in float64 on the CPU by a generator of their own, cast, laid out, and moved last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

#: Kinds of values, simplest first: the order in which cases shrink.
FILLS: Final = ("zeros", "ones", "impulse", "integers", "normal", "large", "tiny", "values")
#: Kinds of memory layout, simplest first.
LAYOUTS: Final = ("contiguous", "transposed", "strided", "offset", "expanded")
#: The most elements that a tensor whose single values are drawn may have.
MAX_VALUES: Final = 32


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor's values come from and how they lie in memory, before its shape is known.

    Attributes:
        fill: one of `FILLS`, or of one's own (see `register_fill`). `impulse` is one at a single step in time and zero
            elsewhere; `values` takes the elements from `values`, over and over.
        seed: of the generator.
        layout: one of `LAYOUTS`.
        values: single elements, drawn by hypothesis-torch; empty for every fill but `values`.
    """

    fill: str = "normal"
    seed: int = 0
    layout: str = "contiguous"
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.fill not in _FILL:
            raise ValueError(f"fill must be one of {', '.join(_FILL)} (got {self.fill!r})")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)} (got {self.layout!r})")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The recipe of one tensor: shape, dtype, values, layout. `time_axis` is where `impulse` has its step."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    source: Source
    time_axis: int | None = None

    def make(self, device: torch.device | str = "cpu") -> Tensor:
        """The tensor, with values that depend on the spec alone.

        An expanded layout repeats one slice along the first axis, so its values are equal along it.
        """
        shape = self.shape
        expand = self.source.layout == "expanded" and len(shape) > 1 and shape[0] > 1
        drawn = (1, *shape[1:]) if expand else shape
        values = _FILL[self.source.fill](self, drawn).to(self.dtype)
        if device != "cpu":
            values = values.to(device)
        return values.expand(shape) if expand else _LAYOUT[self.source.layout](values)


def _generator(spec: TensorSpec) -> torch.Generator:
    return torch.Generator().manual_seed(spec.source.seed)


def _normal(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=_generator(spec))


def _integers(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    return torch.randint(-3, 4, shape, generator=_generator(spec)).to(torch.float64)


def _impulse(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    values = torch.zeros(shape, dtype=torch.float64)
    axis = spec.time_axis
    if axis is None or axis >= len(shape) or shape[axis] == 0:
        return values + 1
    values.select(axis, spec.source.seed % shape[axis]).fill_(1.0)
    return values


def _values(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    count = math.prod(shape)
    given = spec.source.values or (0.0,)
    repeated = (given * (count // len(given) + 1))[:count]
    return torch.tensor(repeated, dtype=torch.float64).reshape(shape)


_FILL: dict[str, Callable[[TensorSpec, tuple[int, ...]], Tensor]] = {
    "zeros": lambda spec, shape: torch.zeros(shape, dtype=torch.float64),
    "ones": lambda spec, shape: torch.ones(shape, dtype=torch.float64),
    "impulse": _impulse,
    "integers": _integers,
    "normal": _normal,
    "large": lambda spec, shape: _normal(spec, shape) * 20,
    "tiny": lambda spec, shape: _normal(spec, shape) * 1e-3,
    "values": _values,
}


#: Makes values of a shape from a generator.
Fill = Callable[[tuple[int, ...], torch.Generator], Tensor]


def register_fill(name: str) -> Callable[[Fill], Fill]:
    """Register a function as a kind of values, drawn for inputs wherever a check does not ask for certain kinds.

    The function gets a shape and a generator, and returns a tensor of that shape that depends on nothing else. It comes
    after all others in the order in which cases shrink.

    Raises:
        ValueError: the name is taken or malformed.
    """
    if not name.isidentifier():
        raise ValueError(f"a kind of values has a name such as 'ramp' (got {name!r})")
    if name in _FILL:
        raise ValueError(f"there is a kind of values '{name}' already")

    def register(function: Fill) -> Fill:
        _FILL[name] = lambda spec, shape: function(shape, _generator(spec)).to(torch.float64)
        return function

    return register


def own_fills() -> tuple[str, ...]:
    """The names of the kinds of values that were registered."""
    return tuple(name for name in _FILL if name not in FILLS)


def _transposed(values: Tensor) -> Tensor:
    return values if values.dim() < 2 else values.transpose(0, -1).contiguous().transpose(0, -1)


def _strided(values: Tensor) -> Tensor:
    if values.dim() == 0:
        return values
    wide = values.new_full((*values.shape[:-1], 2 * values.shape[-1]), 7.0)
    view = wide[..., ::2]
    view.copy_(values)
    return view


def _offset(values: Tensor) -> Tensor:
    if values.dim() == 0:
        return values
    long = values.new_full((values.shape[0] + 2, *values.shape[1:]), 7.0)
    view = long[1 : 1 + values.shape[0]]
    view.copy_(values)
    return view


_LAYOUT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda values: values,
    "transposed": _transposed,
    "strided": _strided,
    "offset": _offset,
    "expanded": lambda values: values,
}
