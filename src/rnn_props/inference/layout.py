"""Which axis is the batch and which is time, from influence and not from shapes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.targets import TargetError

#: Changes of an input that are tried until one shows: units that fire at a threshold do not feel a small one.
_NUDGES = (1.0, 30.0)
#: Seconds after which influence is measured at three places, and not at all of them.
_SLOW = 1.0


class ProbeError(TargetError):
    """The simplest configuration can't be built or called."""


def axis_of(output: Tensor, size: int) -> int | None:
    return next((axis for axis, length in enumerate(output.shape) if length == size), None)


def influence(call: Callable[[Tensor], Any], inputs: Tensor, which: int, axis: int, base: Tensor) -> Tensor:
    """Which indices of an output axis move when one index of an input axis is changed: entry (output, input)."""
    moved = torch.zeros(inputs.shape[which], inputs.shape[which], dtype=torch.bool)
    for nudge in _NUDGES:
        moved |= _moved(call, inputs, which, axis, base, nudge)
        if bool(moved.any()):
            break
    return moved


def _moved(call: Callable[[Tensor], Any], inputs: Tensor, which: int, axis: int, base: Tensor, nudge: float) -> Tensor:
    size = inputs.shape[which]
    moved = torch.zeros(size, size, dtype=torch.bool)
    started = time.monotonic()
    for number, index in enumerate((0, size // 2, size - 1, *range(1, size // 2), *range(size // 2 + 1, size - 1))):
        if number >= 3 and time.monotonic() - started > _SLOW:
            break  # three places tell as much
        changed = inputs.clone()
        changed.select(which, index).add_(nudge)
        output = call(changed)
        gap = (output - base).abs().movedim(axis, 0).reshape(size, -1)
        moved[:, index] = gap.amax(1) > 1e-6 * float(base.abs().max())
    return moved


def is_diagonal(matrix: Tensor | None) -> bool:
    return matrix is not None and bool(torch.equal(matrix, matrix & torch.eye(len(matrix), dtype=torch.bool)))


def which_is_batch(
    influences: list[Tensor | None],
    module: nn.Module,
    shape: tuple[int, ...],
    rest: list[bool],
    said: tuple[str, str] = ("", ""),
) -> tuple[int, str]:
    """Which of two input axes is the batch, and how that is known.

    Args:
        influences: of each of the two axes on the output's.
        module: whose layers may tell.
        shape: of the output.
        rest: for each of the two axes, whether anything else that was returned has an axis of its size.
        said: the order that the author states, `"B T"` or `"T B"`, and where; it counts where calls tell nothing.

    Raises:
        ProbeError: it can't be told.
    """
    diagonal = [is_diagonal(matrix) for matrix in influences]
    names = ("first", "second")
    if diagonal[0] != diagonal[1]:
        batch = 0 if diagonal[0] else 1
        return batch, f"a change in one row of the {names[batch]} axis shows in that row of the output alone: the batch"
    inside = {part.batch_first for part in module.modules() if isinstance(part, nn.RNNBase)}
    if len(inside) == 1:
        first = inside.pop()
        return (0 if first else 1), f"a layer inside has batch_first={first}"
    if all(diagonal) and rest[0] != rest[1]:
        batch = 0 if rest[0] else 1
        return batch, f"no step has an effect on another; the state that is returned has the {names[batch]} axis"
    if said[0]:
        return (0 if said[0] == "B T" else 1), f"calls do not tell which axis is the batch; {said[1]} does"
    if diagonal[0] and diagonal[1]:
        return 0, "no step has an effect on another; the first axis is taken for the batch"
    present = [matrix is not None for matrix in influences]
    if present[0] != present[1]:
        batch = 0 if present[0] else 1
        return batch, f"the {names[batch]} axis is the one that the output keeps: the batch"
    raise ProbeError(
        f"which axis of the input is the batch cannot be told: a change in any row shows in others (output {shape}); "
        "give a Contract with input='B T I' or input='T B I'"
    )
