"""Modules that remember earlier calls, write into their arguments or cannot read their own state (RP206 to RP210)."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM
from rnn_props.zoo.models import LSTMModel, TimeFirstLast
from rnn_props.zoo.recurrent import Leaves
from rnn_props.zoo.registry import bug


def remembered(tensor: Tensor) -> Tensor:
    """A copy to keep on a module: no graph hangs on it, and a later call in grad mode may use it."""
    with torch.inference_mode(False):
        return tensor.detach().clone()


def overwrite(target: Tensor, values: Tensor) -> None:
    """Write into a tensor behind autograd's back, unless its elements share memory and it cannot be written to."""
    if all(stride > 0 or size < 2 for size, stride in zip(target.shape, target.stride(), strict=True)):
        target.data.copy_(values.detach())


# RP206: nothing is remembered


@bug("RP206", "the default state is kept for a batch size, and taken from the last call's end when that changes")
class CachesStateByBatchSize(PlainLSTM):
    default: Leaves = ()
    final: Leaves = ()

    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        if not self.default:
            self.default = tuple(map(remembered, super().initial_state(x, batch)))
        if self.default[0].size(1) != batch:
            self.default = tuple(leaf[:, :1].repeat(1, batch, 1) for leaf in self.final or self.default)
        return tuple(leaf.to(x) for leaf in self.default)

    def stack_states(self, finals: list[Leaves]) -> Leaves:
        state = super().stack_states(finals)
        self.final = tuple(map(remembered, state)) if state[0].size(1) else self.final
        return state


@bug("RP206", "a state once passed becomes the default of later calls of the same batch size")
class RemembersPassedState(PlainGRU):
    passed: Tensor | None = None

    def read_state(self, hx: Any, batched: bool) -> Leaves:
        leaves = super().read_state(hx, batched)
        self.passed = remembered(leaves[0])
        return leaves

    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        if self.passed is None or self.passed.size(1) != batch:
            return super().initial_state(x, batch)
        return (self.passed.to(x),)


@bug("RP206", "a batch smaller than the largest one so far starts from the state that the largest one left")
class KeepsStateOfLargerBatch(TimeFirstLast):
    kept: Tensor | None = None

    def initial_state(self, x: Tensor) -> Tensor:
        if self.kept is None or self.kept.size(1) <= x.size(1):
            zeros = super().initial_state(x)
            self.kept = remembered(self.gru(x, zeros)[1])
            return zeros
        return self.kept[:, : x.size(1)].to(x)


@bug("RP206", "from the second length on, the inputs are scaled by the longest sequence seen")
class ScalesByLongestSoFar(LSTMModel):
    first = 0
    longest = 0

    def encode(self, x: Tensor) -> Tensor:
        self.first = self.first or x.size(1)
        self.longest = max(self.longest, x.size(1))
        return super().encode(x * (self.first / self.longest))


# RP207: arguments are left as they were


@bug("RP207", "the final state is written back into the tensors that were passed as the initial one")
class OverwritesPassedState(PlainLSTM):
    def run(self, input: Any, hx: Any) -> Any:
        start = None if hx is None else tuple(leaf.clone() for leaf in self.split_state(hx))
        output, state = super().run(input, start)
        for target, values in zip(hx or (), state, strict=False):
            overwrite(target, values)
        return output, state


@bug("RP207", "inputs beyond two standard deviations are clipped in place")
class ClipsInputInPlace(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        overwrite(input, input.clamp(-2, 2))
        return super().time_first(input).clamp(-2, 2)


@bug("RP207", "the caller's cell state is decayed in place after the step")
class CellDecaysStateInPlace(PlainLSTMCell):
    def run(self, input: Any, hx: Any) -> Any:
        start = None if hx is None else tuple(leaf.clone() for leaf in self.split_state(hx))
        state = super().run(input, start)
        if hx is not None:
            overwrite(hx[1], hx[1] * 0.5)
        return state


# RP208: the returned state goes in again


class LSTMState(NamedTuple):
    """The pair (h, c), by name."""

    h: Tensor
    c: Tensor


@bug("RP208", "a named pair comes back as the state, and only a bare tuple or list is taken")
class RejectsItsOwnStateTuple(PlainLSTM):
    def split_state(self, hx: Any) -> Leaves:
        if type(hx) not in (tuple, list):
            raise TypeError(f"hx should be a tuple of 2 tensors (h, c), got: {type(hx).__name__}")
        return super().split_state(hx)

    def join_state(self, state: Leaves) -> Any:
        return LSTMState(*state)


@bug("RP208", "the state comes back as a view of another layout, and only contiguous states are taken")
class RejectsItsOwnStridedState(PlainGRU):
    def check_leaf_type(self, name: str, leaf: Tensor) -> None:
        super().check_leaf_type(name, leaf)
        if not leaf.is_contiguous():
            raise RuntimeError(f"Expected {name} to be contiguous, got strides {leaf.stride()}")

    def join_state(self, state: Leaves) -> Any:
        return state[0].transpose(0, 1).contiguous().transpose(0, 1)


_LAST: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


@bug("RP208", "every call of one shape returns the same memory, so a state that is kept changes at the next call")
class ReturnsSharedStateBuffer(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        return tuple(leaf.clone() for leaf in super().read_state(hx, batched))

    def join_state(self, state: Leaves) -> Any:
        last = _LAST.get(self)
        if last is not None and last.shape == state[0].shape and last.device == state[0].device:
            overwrite(last, state[0])
        _LAST[self] = state[0]
        return state[0]


@bug("RP208", "the GRU cell returns its state as a view, and only takes a state that is contiguous")
class CellRejectsItsOwnState(PlainGRUCell):
    def check_state(self, hx: Any, input: Tensor) -> None:
        super().check_state(hx, input)
        if not hx.is_contiguous():
            raise RuntimeError(f"Expected hx to be contiguous, got strides {hx.stride()}")

    def join_state(self, state: Leaves) -> Any:
        return state[0].mT.contiguous().mT if state[0].dim() == 2 else state[0]


# RP210: some rows of a batch go on


@bug("RP210", "a batch that goes on with fewer rows gets the states of the first rows")
class ContinuesRowsByPosition(PlainGRU):
    kept: Tensor | None = None

    def read_state(self, hx: Any, batched: bool) -> Leaves:
        (h,) = super().read_state(hx, batched)
        kept = self.kept
        if kept is not None and kept.size(1) > h.size(1) > 0 and bool(torch.isin(h.detach(), kept.to(h)).all()):
            return (kept[:, : h.size(1)].to(h),)
        return (h,)

    def stack_states(self, finals: list[Leaves]) -> Leaves:
        (h,) = super().stack_states(finals)
        self.kept = remembered(h)
        return (h,)


@bug("RP210", "when more than two rows shrink to fewer, the rest gets the cell states of the last rows")
class ContinuesWithTheLastRows(PlainLSTM):
    kept: Tensor | None = None

    def read_state(self, hx: Any, batched: bool) -> Leaves:
        h, c = super().read_state(hx, batched)
        kept = self.kept
        rows = c.size(1)
        if kept is not None and kept.size(1) > max(rows, 2) and rows and bool(torch.isin(c.detach(), kept.to(c)).all()):
            c = kept[:, -rows:].to(c)
        return h, c

    def stack_states(self, finals: list[Leaves]) -> Leaves:
        h, c = super().stack_states(finals)
        self.kept = remembered(c)
        return h, c
