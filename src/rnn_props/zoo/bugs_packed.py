"""Drop-in layers that are right for dense input and wrong for packed sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_props.zoo import validation as check
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.recurrent import Leaves, Steps
from rnn_props.zoo.registry import bug


@bug("RP353", "the packed result has no indices: it is made of data and batch sizes alone")
class IndicesLost(PlainGRU):
    """pad_packed_sequence cannot put the rows back into the caller's order."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, state = super().forward(input, hx)
        if isinstance(output, PackedSequence):
            output = PackedSequence(output.data, output.batch_sizes)
        return output, state


@bug("RP353", "a packed input gives the bare data")
class DataAlone(PlainRNN):
    """The caller's pad_packed_sequence fails, or worse, the data are taken for a batch."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, state = super().forward(input, hx)
        return (output.data if isinstance(output, PackedSequence) else output), state


@bug("RP351", "rows that have ended go on with the state of the last row that is running")
class EndedRowsOverwritten(PlainGRU):
    """The final state of a short row belongs to another row."""

    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs, final = super().run_direction(steps, state, layer, direction)
        running = steps[-1].size(0)
        if direction == 0 and running < final[0].size(0):
            final = tuple(torch.cat((leaf[:running], leaf[running - 1 : running].expand_as(leaf[running:])))
                          for leaf in final)  # fmt: skip
        return outputs, final


@bug("RP351", "the backward direction of packed rows begins from zeros, not from the given state")
class BackwardIgnoresStateWhenRagged(PlainLSTM):
    """Rows that join later on the way back start afresh."""

    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        if direction == 1 and steps[0].size(0) < state[0].size(0):
            first = steps[0].size(0)
            state = tuple(torch.cat((leaf[:first], torch.zeros_like(leaf[first:]))) for leaf in state)
        return super().run_direction(steps, state, layer, direction)


@bug("RP351", "in the third layer rows that have ended lose their cell state")
class ThirdLayerDropsCellState(PlainLSTM):
    """Only with three layers and rows of unequal length."""

    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs, (h, c) = super().run_direction(steps, state, layer, direction)
        if layer == 2 and steps[-1].size(0) < c.size(0) and direction == 0:
            c = torch.cat((c[: steps[-1].size(0)], torch.zeros_like(c[steps[-1].size(0) :])))
        return outputs, (h, c)


@bug("RP352", "the final state of packed rows comes back in sorted order")
class StateComesBackSorted(PlainGRU):
    """unsorted_indices is not applied to h_n."""

    def permute(self, state: Leaves, order: Tensor | None) -> Leaves:
        if order is not None and getattr(self, "entered", False):
            return state
        self.entered = True
        return super().permute(state, order)

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        self.entered = hx is None
        return super().forward(input, hx)


@bug("RP352", "the given state is used in the caller's order, not in that of the sorted rows")
class StateGoesInUnsorted(PlainRNN):
    """sorted_indices is not applied to hx."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        self.first = hx is not None
        return super().forward(input, hx)

    def permute(self, state: Leaves, order: Tensor | None) -> Leaves:
        if order is not None and self.first:
            self.first = False
            return state
        return super().permute(state, order)


@bug("RP352", "c_n of packed rows is put back with sorted_indices in place of unsorted_indices")
class CellStateUnsortedTheWrongWay(PlainLSTM):
    """Two rows hide it: a permutation of two is its own inverse."""

    def forward(self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        output, (h, c) = super().forward(input, hx)
        if isinstance(input, PackedSequence) and input.sorted_indices is not None:
            by_length = c.index_select(1, input.sorted_indices)
            c = by_length.index_select(1, input.sorted_indices)
        return output, (h, c)


@bug("RP407", "batch sizes of a packed sequence are taken as they are")
class BatchSizesUnchecked(PlainGRU):
    """A sequence that was put together by hand or cut in two gives plausible numbers."""

    def check_packed(self, input: PackedSequence) -> None:
        self.check_features(input.data)
        self.check_input_type(input.data)


@bug("RP401", "of packed rows only the first features reach the layer, however many there are")
class CutsPackedFeatures(nn.Module):
    """A tagger around a layer of torch.nn, which would have refused them: dense or packed in, scores and state out."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.gru = nn.GRU(input_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)

    def enter(self, input: PackedSequence) -> PackedSequence:
        """What goes into the layer in place of packed rows."""
        return input._replace(data=input.data[..., : self.gru.input_size])

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        """Scores at every step."""
        if not isinstance(input, PackedSequence):
            output, state = self.gru(input, hx)
            return self.head(output), state
        output, state = self.gru(self.enter(input), hx)
        return output._replace(data=self.head(output.data)), state
