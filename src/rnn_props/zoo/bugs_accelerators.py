"""Modules that are right on the CPU, and not on an accelerator (RP801 to RP806)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMModel, RNNTagger, RunningMeanForecaster, SequenceClassifier, TimeFirstGRU
from rnn_props.zoo.recurrent import Leaves, Steps, Weights
from rnn_props.zoo.registry import bug


def _accelerated(x: Tensor) -> bool:
    return x.device.type != "cpu"


# RP801: where tensors are


@bug("RP801", "outputs are written into a buffer that is made on the CPU")
class OutputBufferOnCPU(PlainLSTM):
    def to_tensor(self, steps: Steps) -> Tensor:
        output = torch.empty(len(steps), *steps[0].shape, dtype=steps[0].dtype)
        for number, step in enumerate(steps):
            output[number] = step
        return output


@bug("RP801", "the final state is brought to the CPU for the caller's convenience")
class FinalStateToCPU(PlainGRU):
    def join_state(self, state: Leaves) -> Any:
        return state[0].cpu()


@bug("RP801", "the dropout mask is drawn on the CPU, in training mode alone")
class DropoutMaskOnCPU(SequenceClassifier):
    def drop(self, h: Tensor) -> Tensor:
        if not self.training or self.dropout.p in (0.0, 1.0):
            return super().drop(h)
        mask = torch.bernoulli(torch.full(h.shape, 1 - self.dropout.p, dtype=h.dtype))
        return h * mask / (1 - self.dropout.p)


@bug("RP801", "on an accelerator the state goes to CUDA, whatever the accelerator is")
class CudaWrittenIn(LSTMModel):
    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, c = super().initial_state(x)
        return (h.cuda(), c.cuda()) if _accelerated(x) else (h, c)


@bug("RP801", "the input's largest value is looked up with numpy")
class ScalesByNumpy(TimeFirstGRU):
    def prepare(self, x: Tensor) -> Tensor:
        if x.numel() and x.detach().numpy().max() > 1e30:
            raise ValueError("the input is out of range")
        return x


@bug("RP801", "the rows of packed sequences are put in order by an index that is made on the CPU")
class SortsRowsOnCPU(PlainGRU):
    def permute(self, state: Leaves, order: Tensor | None) -> Leaves:
        return state if order is None else tuple(leaf.index_select(1, order.cpu()) for leaf in state)


@bug("RP801", "the two directions of a bidirectional stack are added up in a sum that begins on the CPU")
class MergesDirectionsOnCPU(RNNTagger):
    def forward(self, x: Tensor) -> Tensor:
        prediction = super().forward(x)
        if not self.bidirectional:
            return prediction
        return torch.zeros(prediction.shape[-1], dtype=x.dtype) + prediction


# RP802: results


@bug("RP802", "on an accelerator the cell computes in bfloat16")
class ComputesInBfloat16(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if not _accelerated(x) or x.dtype != torch.float32:
            return super().cell(x, state, weights)
        low = Weights(*(None if item is None else item.bfloat16() for item in weights))  # type: ignore[arg-type]
        new = super().cell(x.bfloat16(), tuple(leaf.bfloat16() for leaf in state), low)
        return tuple(leaf.to(x.dtype) for leaf in new)


@bug("RP802", "the fast path of accelerators leaves out the hidden bias")
class FastPathForgetsBias(PlainGRU):
    def weights(self, layer: int, direction: int) -> Weights:
        weights = super().weights(layer, direction)
        if weights.bias_hh is None or not _accelerated(weights.hh):
            return weights
        return weights._replace(bias_hh=torch.zeros_like(weights.bias_hh))


@bug("RP802", "the kernel of accelerators works on tiles of four features, and leaves out the last ones")
class TilesByFour(PlainRNN):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = state
        whole = h.size(-1) // 4 * 4
        if not _accelerated(x) or whole == 0:
            return super().cell(x, state, weights)
        kept = torch.cat((h[..., :whole], torch.zeros_like(h[..., whole:])), -1)
        return super().cell(x, (kept,), weights)


@bug("RP802", "on an accelerator, the state that is passed is not used beyond the first layer")
class FastPathDropsUpperStates(PlainLSTM):
    def row_state(self, state: Leaves, layer: int, direction: int) -> Leaves:
        leaves = super().row_state(state, layer, direction)
        return tuple(torch.zeros_like(leaf) for leaf in leaves) if layer and _accelerated(leaves[0]) else leaves


@bug("RP802", "on an accelerator, the cell's update gate is a sigmoid in four straight pieces")
class CellApproximatesSigmoid(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if not _accelerated(x):
            return super().cell(x, state, weights)
        reset_x, update_x, new_x = F.linear(x, weights.ih, weights.bias_ih).chunk(3, -1)
        reset_h, update_h, new_h = F.linear(state[0], weights.hh, weights.bias_hh).chunk(3, -1)
        update = F.hardsigmoid(update_x + update_h)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return ((1 - update) * new + update * state[0],)


# RP803: gradients


class _WrongBackward(torch.autograd.Function):
    """The identity, whose gradient is half of what it should be on an accelerator."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return gradient * 0.5 if _accelerated(gradient) else gradient


@bug("RP803", "the backward kernel of accelerators forgets one of two equal terms for the hidden state")
class HalvesGradientOfState(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = super().cell(x, state, weights)
        return _WrongBackward.apply(h), c  # type: ignore[no-untyped-call]


@bug("RP803", "on an accelerator no gradient comes back to the initial state")
class DetachesInitialState(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        state = super().read_state(hx, batched)
        return tuple(leaf.detach() for leaf in state) if _accelerated(state[0]) else state


@bug("RP803", "the backward kernel of accelerators saves its inputs in bfloat16")
class CellSavesInBfloat16(PlainLSTMCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if not _accelerated(x) or x.dtype != torch.float32:
            return super().cell(x, state, weights)
        with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.bfloat16(), lambda saved: saved.to(x.dtype)):
            return super().cell(x, state, weights)


# RP804: moves


@bug("RP804", "zero states are kept for each batch size, wherever the first ones were made")
class KeepsZerosByBatchSize(LSTMModel):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.zeros: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.zeros.setdefault((x.size(0), x.dtype), super().initial_state(x))


@bug("RP804", "the counts of steps are kept on the device of the first call")
class KeepsCountsOfFirstCall(RunningMeanForecaster):
    counts: Tensor | None = None

    def running_mean(self, x: Tensor) -> Tensor:
        if self.counts is None or len(self.counts) < x.size(1) or self.counts.dtype != x.dtype:
            self.counts = torch.arange(1, x.size(1) + 1, dtype=x.dtype, device=x.device)
        return x.cumsum(1) / self.counts[: x.size(1)].unsqueeze(-1)


@bug("RP804", "a head that is not moved back from the accelerator")
class HeadStaysBehind(LSTMModel):
    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        accelerated = _accelerated(self.fc.weight)
        head = self._modules.pop("fc")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._modules["fc"] = head
        if head is not None and not (
            accelerated and not _accelerated(fn(torch.zeros(1, device=self.fc.weight.device)))
        ):
            head._apply(fn)  # type: ignore[no-untyped-call]
        return self


# RP805: mixed devices


@bug("RP805", "the input is moved to the weights' device without a word")
class MovesItsInput(PlainLSTM):
    def run_dense(self, input: Any, hx: Any) -> Any:
        if isinstance(input, Tensor):
            input = input.to(self.some_weight().device)
        return super().run_dense(input, hx)


@bug("RP805", "a state that is on another device is replaced by zeros")
class ReplacesStateOfOtherDevice(PlainGRU):
    def run_dense(self, input: Any, hx: Any) -> Any:
        if isinstance(hx, Tensor) and isinstance(input, Tensor) and hx.device != input.device:
            hx = None
        return super().run_dense(input, hx)


@bug("RP805", "the cell's state is read through a list of numbers")
class CellReadsStateAsNumbers(PlainLSTMCell):
    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        if hx is not None and isinstance(hx, tuple) and len(hx) == 2 and hx[0].device != input.device:
            h, c = (torch.tensor(leaf.tolist(), dtype=leaf.dtype, device=input.device) for leaf in hx)
            hx = h, c
        return super().forward(input, hx)


# RP806: settings of CUDA


@bug("RP806", "on CUDA, the input's memory is read as if it were contiguous")
class ReadsContiguousMemoryOnCuda(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        if input.is_cuda and not self.batch_first:
            strides = torch.empty(input.shape, device="meta").stride()
            input = input.as_strided(input.shape, strides)
        return super().time_first(input)
