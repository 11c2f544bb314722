"""Modules that mix rows or steps, or misread layouts (RP301 to RP309), and are right in everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMCellModel, LSTMModel
from rnn_props.zoo.recurrent import Leaves, Steps, Weights, ragged
from rnn_props.zoo.registry import bug


def is_permuted(tensor: Tensor) -> bool:
    """Whether the elements fill one block of memory, in another order than the contiguous one."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.numel() > 0 and not tensor.is_contiguous() and span == tensor.numel()


def as_if_contiguous(tensor: Tensor) -> Tensor:
    """The tensor's memory read in contiguous order; differs from the tensor where its dimensions were permuted."""
    if not is_permuted(tensor):
        return tensor
    strides = torch.empty(tensor.shape, device="meta").stride()
    return tensor.as_strided(tensor.shape, strides, tensor.storage_offset())


# RP301: rows do not see each other


@bug("RP301", "what goes from layer to layer is centred over the batch")
class CentresOverBatch(PlainLSTM):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        return [step - 0.5 * step.mean(0) for step in super().between_layers(steps, layer)]


@bug("RP301", "batch and time are swapped by a reshape for a layer that wants time first")
class ReshapesInsteadOfTransposing(LSTMCellModel):
    def forward(self, x: Tensor) -> Tensor:
        batch, length, features = x.shape if x.dim() == 3 else (0, 0, 0)
        return super().forward(x.reshape(length, batch, features).transpose(0, 1) if batch else x)


@bug("RP301", "batches of more than two rows are scaled by the largest input of all rows")
class ScalesLargeBatches(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if x.size(0) > 2:
            x = x / (1 + x.detach().abs().amax())
        return super().cell(x, state, weights)


@bug("RP301", "a gate for each row is broadcast over the features when the batch is as large as the hidden size")
class GateBroadcastsOverRows(LSTMModel):
    def predict(self, output: Tensor) -> Tensor:
        last = output[:, -1]
        gate = torch.sigmoid(last.mean(-1))
        gated = last * (gate if last.size(0) == last.size(1) else gate.unsqueeze(-1))
        prediction: Tensor = self.fc(gated)
        return prediction


@bug("RP301", "the cell normalises h over the batch when there is more than one row")
class CellCentresOverBatch(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = state
        return super().cell(x, (h - 0.5 * h.mean(0) if h.size(0) > 1 else h,), weights)


# RP302: the order of the rows means nothing


@bug("RP302", "a row's number in the batch is added to its inputs")
class AddsRowNumber(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        x = super().time_first(input)
        number = torch.arange(x.size(1), dtype=x.dtype, device=x.device)
        return x + 0.1 * number.unsqueeze(-1)


@bug("RP302", "rows run in pairs, and the last one of an odd number misses the hidden bias")
class OddRowMissesBias(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        rows = x.size(0)
        if rows < 3 or rows % 2 == 0:
            return super().cell(x, state, weights)
        pairs = super().cell(x[:-1], tuple(leaf[:-1] for leaf in state), weights)
        last = super().cell(x[-1:], tuple(leaf[-1:] for leaf in state), weights._replace(bias_hh=None))
        return tuple(torch.cat(parts) for parts in zip(pairs, last, strict=True))


@bug("RP302", "rows are sorted by their first input for speed, and the predictions stay sorted")
class PredictionsStaySorted(LSTMModel):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x[x[:, 0, 0].argsort(stable=True)])


# RP303: batch_first changes the layout alone


@bug("RP303", "batch_first swaps batch and time by a reshape, on the way in and on the way out")
class BatchFirstByReshape(PlainLSTM):
    def time_first(self, input: Tensor) -> Tensor:
        if input.dim() == 2 or not self.batch_first:
            return super().time_first(input)
        return input.reshape(input.size(1), input.size(0), input.size(2))

    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        if not (batched and self.batch_first):
            return super().finish_output(output, batched)
        return output.reshape(output.size(1), output.size(0), output.size(2))


@bug("RP303", "the branch for batch_first leaves out the hidden bias")
class BatchFirstForgetsHiddenBias(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return super().cell(x, state, weights._replace(bias_hh=None) if self.batch_first else weights)


@bug("RP303", "with batch_first the states of several rows are read and written batch first, by a reshape")
class StateReshapedForBatchFirst(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        (h,) = super().read_state(hx, batched)
        return (h.reshape(h.size(1), h.size(0), -1).transpose(0, 1),) if self.batch_first and h.numel() else (h,)

    def finish_state(self, state: Leaves, batched: bool) -> Any:
        h = state[0]
        if self.batch_first and h.numel():
            h = h.transpose(0, 1).reshape(h.shape)
        return super().finish_state((h,), batched)


@bug("RP303", "with batch_first the backward half of the output comes first")
class BatchFirstSwapsDirections(PlainRNN):
    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        if self.bidirectional and self.batch_first:
            output = torch.cat(output.chunk(2, -1)[::-1], -1)
        return super().finish_output(output, batched)


# RP304: the past does not see the future


@bug("RP304", "layers above the first see one step ahead of the layer below")
class UpperLayersLookAhead(PlainGRU):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        steps = super().between_layers(steps, layer)
        following = [*steps[1:], steps[-1]]
        if ragged(steps) or self.bidirectional:
            return steps
        return [(now + after) / 2 for now, after in zip(steps, following, strict=True)]


@bug("RP304", "the inputs are centred over the whole sequence, the future included")
class CentresOverTime(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        x = super().time_first(input)
        return x - x.mean(0)


# RP307: the layout in memory means nothing


@bug("RP307", "the memory of a transposed input is read as if it were contiguous")
class ReadsInputAsContiguous(PlainLSTM):
    def time_first(self, input: Tensor) -> Tensor:
        return super().time_first(input if self.batch_first else as_if_contiguous(input))


@bug("RP307", "the memory of a transposed state is read as if it were contiguous")
class ReadsStateAsContiguous(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        return tuple(as_if_contiguous(leaf) for leaf in super().read_state(hx, batched))


@bug("RP307", "the cell reads the memory of a transposed cell state as if it were contiguous")
class CellReadsStateAsContiguous(PlainLSTMCell):
    def read_state(self, hx: Any) -> Leaves:
        h, c = super().read_state(hx)
        return h, as_if_contiguous(c)


# RP309: any length


@bug("RP309", "a mask made for 100 steps does not fit a longer sequence")
class MaskForHundredSteps(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        x = super().time_first(input)
        mask = x.new_ones(100, 1, 1)
        return x * mask[: x.size(0)]


@bug("RP309", "of a sequence longer than 64 steps, only the outputs of the last 64 are kept")
class KeepsTheLastSixtyFour(PlainLSTM):
    def to_tensor(self, steps: Steps) -> Tensor:
        output = super().to_tensor(steps)
        if len(steps) <= 64:
            return output
        return torch.cat((torch.zeros_like(output[:-64]), output[-64:]))


@bug("RP309", "inputs of more than twelve steps are scaled by the length")
class ScalesLongSequences(PlainRNN):
    def time_first(self, input: Tensor) -> Tensor:
        x = super().time_first(input)
        return x * (12 / x.size(0)) if x.size(0) > 12 else x
