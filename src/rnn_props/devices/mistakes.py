"""What the simulated accelerator does wrong on request, so that checks of agreement can be tested without a GPU.

Everything here happens in products (of matrices, and in convolutions), where real devices differ most.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

Mistake = Literal[
    "tf32", "bfloat16_products", "lost_element", "stale_memory", "nondeterministic", "transposed",
    "assertion", "out_of_memory", "hang",
]  # fmt: skip
#: What can be asked for:
#: `tf32`: operands in float32 are rounded to 10 bits of mantissa, as Ampere and newer GPUs do where they may.
#: `bfloat16_products`: operands in float32 are rounded to bfloat16, 7 bits.
#: `lost_element`: one element of every result of at least `LARGE` elements is zero.
#: `stale_memory`: every `STALE`th result of a shape is the one before it.
#: `nondeterministic`: results differ from call to call in their last bits, as sums do that are taken in any order.
#: `transposed`: square results are transposed.
#: `assertion`: a result of at least `HUGE` elements fails an assertion on the device, and every later product with it,
#: as no GPU can be used any more by a process in which one of its kernels failed.
#: `out_of_memory`: there is no memory for a result of at least `HUGE` elements.
#: `hang`: such a result never comes.
MISTAKES: Final[tuple[Mistake, ...]] = get_args(Mistake)
LARGE: Final = 8
HUGE: Final = 32
STALE: Final = 5
#: Read when the device is set up: the mistake that a process starts with.
VARIABLE: Final = "RNN_PROPS_SIM_WRONG"

#: The mistake that is made at present.
current: Mistake | None = None
_previous: dict[tuple[int, ...], Tensor] = {}
_counts: dict[tuple[int, ...], int] = {}
_noise = torch.Generator()
_failed = False


def set_wrong(kind: Mistake | None) -> None:
    """Make a mistake from now on, in this process; None: none.

    Raises:
        ValueError: there is no such mistake.
    """
    global current, _failed
    if kind is not None and kind not in MISTAKES:
        raise ValueError(f"kind must be one of {', '.join(MISTAKES)} or None (got {kind!r})")
    current, _failed = kind, False
    _previous.clear()
    _counts.clear()
    _noise.manual_seed(0)


def set_from_environment() -> None:
    """Make the mistake that the environment names, if it names one."""
    named: Any = os.environ.get(VARIABLE)
    if named:
        try:
            set_wrong(named)
        except ValueError as error:
            raise ValueError(f"{VARIABLE}: {error}") from None


@contextmanager
def wrong(kind: Mistake | None) -> Iterator[None]:
    """Make a mistake inside a block."""
    before = current
    set_wrong(kind)
    try:
        yield
    finally:
        set_wrong(before)


def apply(
    compute: Callable[..., Any], args: Sequence[Any], operands: Sequence[int], keywords: Mapping[str, Any] | None = None
) -> Any:
    """Compute a product with the mistake of the moment.

    Args:
        args: CPU tensors and numbers.
        operands: which of them are multiplied.
    """
    if current in _ROUNDING:
        args = [_ROUNDING[current](value) if place in operands else value for place, value in enumerate(args)]
    result = compute(*args, **(keywords or {}))
    if current in _ENDS:
        _ENDS[current](result)
    if current in _AFTERWARDS:
        result.copy_(_AFTERWARDS[current](result))
    return result


def _tf32(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    # To the nearest, halves to even: 13 of the 23 bits go.
    rounded = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF
    return torch.where(tensor.isfinite(), rounded.view(torch.float32), tensor)


def _bfloat16(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float() if tensor.dtype == torch.float32 else tensor


def _lost(result: Tensor) -> Tensor:
    kept = result.clone(memory_format=torch.contiguous_format)
    if kept.numel() >= LARGE:
        kept.view(-1)[kept.numel() // 2] = 0
    return kept


def _stale(result: Tensor) -> Tensor:
    key = tuple(result.shape)
    _counts[key] = _counts.get(key, 0) + 1
    old = _previous.get(key)
    _previous[key] = result.clone()
    return result if old is None or old.dtype != result.dtype or _counts[key] % STALE else old


def _noisy(result: Tensor) -> Tensor:
    if not result.is_floating_point():
        return result
    units = torch.randint(-2, 3, result.shape, generator=_noise)
    return result * (1 + units * torch.finfo(result.dtype).eps).to(result.dtype)


def _transposed(result: Tensor) -> Tensor:
    square = result.dim() == 2 and result.shape[0] == result.shape[1]
    return result.t().clone() if square else result


def _assertion(result: Tensor) -> None:
    global _failed
    _failed = _failed or result.numel() >= HUGE
    if _failed:
        raise RuntimeError("simulated: device-side assert triggered")


def _out_of_memory(result: Tensor) -> None:
    if result.numel() >= HUGE:
        raise torch.cuda.OutOfMemoryError("simulated: out of memory")


def _hang(result: Tensor) -> None:
    while result.numel() >= HUGE:
        time.sleep(1)


_ROUNDING: Mapping[str | None, Callable[[Tensor], Tensor]] = {"tf32": _tf32, "bfloat16_products": _bfloat16}
_AFTERWARDS: Mapping[str | None, Callable[[Tensor], Tensor]] = {
    "lost_element": _lost,
    "stale_memory": _stale,
    "nondeterministic": _noisy,
    "transposed": _transposed,
}
_ENDS: Mapping[str | None, Callable[[Tensor], None]] = {
    "assertion": _assertion,
    "out_of_memory": _out_of_memory,
    "hang": _hang,
}
