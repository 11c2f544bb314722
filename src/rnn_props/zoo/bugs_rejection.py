"""Modules that take what they should reject, or reject it badly (RP401 to RP408), and are right on valid arguments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import _VF, Tensor
from torch.nn import functional as F

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell, PlainRNNCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMModel, TimeFirstLast
from rnn_props.zoo.recurrent import Leaves, Steps, ragged
from rnn_props.zoo.registry import bug

# RP401: inputs


@bug("RP401", "features beyond input_size are cut off without a word")
class CutsExtraFeatures(PlainLSTM):
    def check_features(self, input: Tensor) -> None:
        if input.size(-1) < self.input_size:
            super().check_features(input)

    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        return super().run_layers([step[:, : self.input_size] for step in steps], state)


@bug("RP401", "an input of another dtype, integers included, is cast to the weights' dtype")
class CastsInput(PlainGRU):
    def check_input_type(self, input: Tensor) -> None:
        super().check_input_type(input.to(self.some_weight().dtype))

    def time_first(self, input: Tensor) -> Tensor:
        return super().time_first(input.to(self.some_weight().dtype))


@bug("RP401", "an empty sequence gives an empty output and hands the state through")
class TakesEmptySequence(PlainRNN):
    def run_dense(self, input: Any, hx: Any) -> Any:
        time = 1 if self.batch_first and isinstance(input, Tensor) and input.dim() == 3 else 0
        if not (isinstance(input, Tensor) and input.dim() in (2, 3) and input.size(time) == 0):
            return super().run_dense(input, hx)
        # A step of zeros takes the checks of the real path; its results are thrown away.
        shape = [1 if dim == time else size for dim, size in enumerate(input.shape)]
        output, final = super().run_dense(input.new_zeros(shape), hx)
        return output.narrow(time, 0, 0), torch.zeros_like(final) if hx is None else hx


@bug("RP401", "an input of four dimensions is flattened to three")
class FlattensFourDimensions(LSTMModel):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2) if x.dim() == 4 else x)


@bug("RP401", "missing features are filled up with zeros")
class CellPadsMissingFeatures(PlainGRUCell):
    def run(self, input: Any, hx: Any) -> Any:
        missing = self.input_size - input.size(-1) if isinstance(input, Tensor) and input.dim() else 0
        return super().run(F.pad(input, (0, missing)) if missing > 0 else input, hx)


# RP402: states


@bug("RP402", "a state of batch one is broadcast to every row")
class BroadcastsStateOfOne(PlainLSTM):
    def run_dense(self, input: Any, hx: Any) -> Any:
        if hx is not None and isinstance(input, Tensor) and input.dim() == 3:
            batch = input.size(0 if self.batch_first else 1)
            leaves = self.split_state(hx)
            hx = tuple(leaf.expand(-1, batch, -1) if leaf.dim() == 3 and leaf.size(1) == 1 else leaf for leaf in leaves)
        return super().run_dense(input, hx)


@bug("RP402", "a state for more layers than there are is taken, and its last rows are left unread")
class TakesStateOfMoreLayers(PlainGRU):
    def check_leaf(self, name: str, leaf: Tensor, width: int, batch: int, batched: bool) -> None:
        rows = self.num_layers * self.num_directions
        super().check_leaf(name, leaf[:rows] if leaf.dim() else leaf, width, batch, batched)


@bug("RP402", "what follows h and c in the state's tuple is left unread")
class TakesLongStateTuple(PlainLSTM):
    def split_state(self, hx: Any) -> Leaves:
        return super().split_state(hx[:2] if isinstance(hx, (tuple, list)) else hx)


@bug("RP402", "a state of another dtype is cast to the weights' dtype")
class CastsState(PlainGRU):
    def split_state(self, hx: Any) -> Leaves:
        return tuple(leaf.to(self.some_weight().dtype) for leaf in super().split_state(hx))


@bug("RP402", "one tensor with h and c stacked is taken for the pair")
class TakesStackedState(PlainLSTM):
    def split_state(self, hx: Any) -> Leaves:
        stacked = isinstance(hx, Tensor) and hx.dim() > 0 and hx.size(0) == 2
        return super().split_state(tuple(hx) if stacked else hx)


@bug("RP402", "a state without a batch dimension is used for every row of a batch")
class SpreadsUnbatchedState(PlainRNN):
    def run_dense(self, input: Any, hx: Any) -> Any:
        if isinstance(input, Tensor) and input.dim() == 3 and isinstance(hx, Tensor) and hx.dim() == 2:
            hx = hx.unsqueeze(1).expand(-1, input.size(0 if self.batch_first else 1), -1)
        return super().run_dense(input, hx)


@bug("RP402", "the LSTM cell broadcasts a state of one row")
class CellBroadcastsState(PlainLSTMCell):
    def run(self, input: Any, hx: Any) -> Any:
        if hx is not None and isinstance(input, Tensor) and input.dim() == 2:
            leaves = self.split_state(hx)
            hx = tuple(leaf.expand(len(input), -1) if leaf.shape[:-1] == (1,) else leaf for leaf in leaves)
        return super().run(input, hx)


# RP403: hyperparameters


@bug("RP403", "num_layers=0 gives a layer that hands its input through")
class TakesZeroLayers(PlainGRU):
    def check_arguments(self) -> None:
        layers = self.num_layers
        self.num_layers = 1 if type(layers) is int and layers == 0 else layers
        super().check_arguments()
        self.num_layers = layers

    def run_dense(self, input: Any, hx: Any) -> Any:
        if self.num_layers:
            return super().run_dense(input, hx)
        return input, input.new_zeros(0, input.size(0 if self.batch_first else 1), self.hidden_size)


@bug("RP403", "a dropout above one is taken for one")
class TakesAnyDropout(PlainLSTM):
    def check_dropout(self) -> None:
        if isinstance(self.dropout, (int, float)) and not isinstance(self.dropout, bool) and self.dropout > 1:
            self.dropout = 1.0
        super().check_dropout()


@bug("RP403", "a hidden_size that is a float is rounded down")
class RoundsHiddenSize(PlainRNN):
    def check_arguments(self) -> None:
        if isinstance(self.hidden_size, float):
            self.hidden_size = int(self.hidden_size)
        super().check_arguments()


@bug("RP403", "an unknown nonlinearity is taken for tanh")
class TakesAnyNonlinearity(PlainRNN):
    def check_nonlinearity(self) -> None:
        pass


@bug("RP403", "a negative proj_size is taken for none")
class NegativeProjectionMeansNone(PlainLSTM):
    def check_projection(self) -> None:
        if isinstance(self.proj_size, int) and self.proj_size < 0:
            self.proj_size = 0
        super().check_projection()


@bug("RP403", "the cell takes an unknown nonlinearity for tanh")
class CellTakesAnyNonlinearity(PlainRNNCell):
    def check_nonlinearity(self) -> None:
        pass


# RP404: a rejection leaves no trace


@bug("RP404", "a state is kept before it is checked, and the next call without one starts from it")
class KeepsRejectedState(PlainGRU):
    pending: Tensor | None = None

    def run(self, input: Any, hx: Any) -> Any:
        if hx is None and self.pending is not None:
            hx = self.pending
        self.pending = hx.detach() if isinstance(hx, Tensor) else None
        result = super().run(input, hx)
        self.pending = None
        return result


@bug("RP404", "a state that is rejected is zeroed in place")
class ZeroesRejectedState(PlainLSTM):
    def run(self, input: Any, hx: Any) -> Any:
        try:
            return super().run(input, hx)
        except Exception:
            for leaf in hx if isinstance(hx, (tuple, list)) else ():
                if isinstance(leaf, Tensor):
                    leaf.data.zero_()
            raise


@bug("RP404", "after a rejected call the model stays on a fallback that starts from ones")
class FallsBackAfterRejection(TimeFirstLast):
    fallback = False

    def initial_state(self, x: Tensor) -> Tensor:
        return super().initial_state(x) + (1 if self.fallback else 0)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except Exception:
            self.fallback = True
            raise


# RP405: messages


@bug("RP405", "every rejection says the same, whatever was wrong")
class RejectsWithoutReason(PlainLSTM):
    def run(self, input: Any, hx: Any) -> Any:
        try:
            return super().run(input, hx)
        except (RuntimeError, TypeError, ValueError):
            raise ValueError("bad input") from None


@bug("RP405", "the GRU cell rejects a state by an assertion without a message")
class CellAssertsWithoutMessage(PlainGRUCell):
    def check_state(self, hx: Any, input: Tensor) -> None:
        try:
            super().check_state(hx, input)
        except (RuntimeError, TypeError, ValueError):
            raise AssertionError from None


# RP408: crashes and hangs


@contextmanager
def native_kernel() -> Iterator[None]:
    """Keep off oneDNN's kernel, which checks the rows of the state that the native one takes for granted."""
    mkldnn: Any = torch.backends.mkldnn
    before, mkldnn.enabled = mkldnn.enabled, False
    try:
        yield
    finally:
        mkldnn.enabled = before


@bug("RP408", "a state for too few layers goes to the native kernel, which reads past its end and dies")
class SkipsNativeChecks(PlainLSTM):
    def pad_rows(self, leaf: Tensor) -> Tensor:
        missing = self.num_layers * self.num_directions - leaf.size(0) if leaf.dim() else 0
        return torch.cat((leaf, leaf.new_zeros(missing, *leaf.shape[1:]))) if missing > 0 else leaf

    def check_state(self, hx: Any, batch: int, batched: bool) -> None:
        h, c = self.split_state(hx)
        same = h.shape[:1] == c.shape[:1]
        super().check_state((self.pad_rows(h) if same else h, self.pad_rows(c)), batch, batched)

    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        if self.proj_size or ragged(steps):
            return super().run_layers(steps, (state[0], self.pad_rows(state[1])))
        with native_kernel():
            output, h, c = _VF.lstm(
                torch.stack(steps),
                (self.pad_rows(state[0]), state[1]),
                list(self.parameters()),
                self.bias,
                self.num_layers,
                float(self.dropout),
                self.training,
                self.bidirectional,
                False,
            )
        return list(output.unbind(0)), (h, c)


@bug("RP408", "a state of another batch size is walked through in its own steps, past the batch's end, for ever")
class WalksPastTheBatch(PlainGRU):
    def check_state(self, hx: Any, batch: int, batched: bool) -> None:
        rows = hx.size(1) if batched and isinstance(hx, Tensor) and hx.dim() == 3 else batch
        position = 0
        while position != batch:
            position += rows
        super().check_state(hx, batch, batched)
