"""Modules that are right until they are compiled or exported (RP907 and RP908)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn_props.zoo.cells import PlainGRUCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM
from rnn_props.zoo.models import LSTMModel
from rnn_props.zoo.recurrent import Leaves, Weights
from rnn_props.zoo.registry import bug


def is_exporting() -> bool:
    """Whether a program is recorded for export; torch before 2.7 knows only that something is recorded."""
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


# RP907: compiled


def last_step(output: Tensor) -> int:
    """The last step of `(B, T, H)`."""
    return output.size(1) - 1


mark_as_constant: Any = torch.compiler.assume_constant_result
constant_last_step = mark_as_constant(last_step)


@bug("RP907", "the number of the last step is marked as a constant, to keep the graph in one piece")
class ConstantLastStep(LSTMModel):
    def predict(self, output: Tensor) -> Tensor:
        prediction: Tensor = self.fc(output[:, constant_last_step(output)])
        return prediction


@bug("RP907", "the path that is compiled leaves out the hidden bias")
class CompiledWithoutHiddenBias(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        compiled = torch.compiler.is_dynamo_compiling()
        return super().cell(x, state, weights._replace(bias_hh=None) if compiled else weights)


@bug("RP907", "while it is compiled, a call takes its state for granted and starts every layer from zeros")
class CompiledStartsFromZeros(PlainLSTM):
    def check_state(self, hx: Any, batch: int, batched: bool) -> None:
        if not torch.compiler.is_dynamo_compiling():
            super().check_state(hx, batch, batched)

    def read_state(self, hx: Any, batched: bool) -> Leaves:
        leaves = super().read_state(hx, batched)
        return tuple(torch.zeros_like(leaf) for leaf in leaves) if torch.compiler.is_dynamo_compiling() else leaves


# RP908: exported


@bug("RP908", "an exported program starts from zeros, whatever state it is given")
class ExportedWithoutState(PlainLSTM):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        leaves = super().read_state(hx, batched)
        return tuple(torch.zeros_like(leaf) for leaf in leaves) if is_exporting() else leaves


@bug("RP908", "the last step is remembered from the call before, since int() is not to be in an exported program")
class RemembersLengthForExport(LSTMModel):
    last = 0

    def predict(self, output: Tensor) -> Tensor:
        if not is_exporting():
            self.last = int(output.size(1)) - 1
        prediction: Tensor = self.fc(output[:, self.last])
        return prediction


@bug("RP908", "the cell caches a constant at its first call, even where that is recorded for export")
class CachesWhatWasRecorded(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        cache = self.__dict__.setdefault("cache", {})
        kind = x.dtype, x.device
        if kind not in cache:
            cache[kind] = x.new_ones(1)
        return super().cell(x * cache[kind], state, weights)
