"""Noise of the size of rounding: on what goes into a run, and on the result of every operation in it.

Rounding in an arithmetic of unit roundoff u changes a result by a part of u at most, or by half of the smallest number
that there is. Noise is twice that at random, so that a few runs show what rounding can do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_props.numerics.compare import UNIT_ROUNDOFF
from rnn_props.subjects import Tree, map_tree

#: The noise, in units of the roundoff.
NOISE = 2.0


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How results are rounded.

    Attributes:
        unit: the unit roundoff, half the distance from 1 to the next number.
        smallest: the smallest positive number.
        largest: the largest finite one.
    """

    unit: float
    smallest: float
    largest: float


def _arithmetic(dtype: torch.dtype, unit: float | None = None) -> Arithmetic:
    info = torch.finfo(dtype)
    return Arithmetic(UNIT_ROUNDOFF[dtype] if unit is None else unit, info.tiny * info.eps, info.max)


ARITHMETIC: Mapping[torch.dtype, Arithmetic] = {dtype: _arithmetic(dtype) for dtype in UNIT_ROUNDOFF}
#: float32 whose matrix products round their factors to 11 bits.
TF32 = _arithmetic(torch.float32, 2.0**-11)


def perturbed(values: Tree, unit: float, generator: torch.Generator, smallest: float = 0.0) -> Tree:
    """The values with noise of `NOISE` units, at random, or of the smallest number where that is more.

    Zeros, which every arithmetic has, stay zeros.
    """

    def shake(leaf: Tensor) -> Tensor:
        if not (leaf.is_floating_point() or leaf.is_complex()):
            return leaf
        exact = _widest(leaf.detach())
        return (exact + _noise(exact, unit, smallest, generator)).to(leaf.dtype)

    return map_tree(shake, values)


def _widest(values: Tensor) -> Tensor:
    return values.to(torch.complex128 if values.is_complex() else torch.float64)


def _noise(values: Tensor, unit: float, smallest: float, generator: torch.Generator) -> Tensor:
    size = (values.abs() * (NOISE * unit)).clamp_(min=smallest)
    drawn = torch.rand(values.shape, dtype=torch.float64, generator=generator).mul_(2).sub_(1)
    if values.is_complex():  # either part may be off by as much as the number's size allows
        drawn = torch.complex(drawn, torch.rand(values.shape, dtype=torch.float64, generator=generator).mul_(2).sub_(1))
    return drawn.mul_(size).masked_fill_(values == 0, 0.0).to(values.device)


#: Operations that copy, select or reorder numbers, and so round nothing.
_EXACT = frozenset(
    {
        "_reshape_alias", "_to_copy", "_unsafe_view", "abs", "alias", "cat", "clamp", "clone", "complex",
        "conj_physical", "constant_pad_nd", "copy_", "embedding", "empty_like", "fill_", "flip", "full_like", "gather",
        "index", "index_put", "index_put_", "index_select", "masked_fill", "masked_fill_", "maximum", "minimum", "neg",
        "new_zeros", "ones_like", "relu", "roll", "scatter", "select_backward", "select_scatter", "slice_backward",
        "slice_scatter", "stack", "threshold_backward", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes",
        "where", "zero_", "zeros_like",
    }
)  # fmt: skip


def _takes_tensors(args: Any) -> bool:
    """Whether an operation works on tensors: others make zeros, ranges and random numbers."""
    return any(
        isinstance(part, Tensor) for item in args for part in (item if isinstance(item, list | tuple) else (item,))
    )


class NoiseAtEveryOperation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within this context the result of every operation on floating numbers gets noise, in the backward pass, too.

    Kernels that compute several steps at once get it once, at their end.
    """

    def __init__(self, arithmetic: Arithmetic, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._arithmetic = arithmetic
        self._generator = generator

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without this, torch imports its compiler at the first operation, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        schema = func._schema
        if schema.name.partition("::")[2] in _EXACT or not _takes_tensors(args):
            return result
        if isinstance(result, Tensor):
            return self._rounded(result, schema.returns[0].alias_info)
        if isinstance(result, tuple) and len(result) == len(schema.returns):
            pairs = zip(result, schema.returns, strict=True)
            return tuple(self._rounded(item, declared.alias_info) for item, declared in pairs)
        return result

    def _rounded(self, value: Any, alias: Any) -> Any:
        """The value with noise: a new tensor, or the same one where the operation wrote in place; a view stays."""
        if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
            return value
        if alias is not None and not alias.is_write:
            return value
        unit, smallest = self._arithmetic.unit, self._arithmetic.smallest
        noise = _noise(_widest(value), unit, smallest, self._generator).to(value.dtype)
        return value + noise if alias is None else value.add_(noise)
