"""Modules whose results are right and whose gradients are not (RP601 to RP604, RP211 and RP212)."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMCellModel, LSTMModel, RNNTagger, TimeFirstLast
from rnn_props.zoo.recurrent import Leaves, Steps, Weights
from rnn_props.zoo.registry import bug


class ScaledGradient(torch.autograd.Function):
    """The identity, with a gradient that is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * float(ctx.factor), None


class HandMadeSigmoid(torch.autograd.Function):
    """The logistic function, with the derivative of tanh."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y: Tensor = ctx.saved_tensors[0]
        return grad * (1 - y * y)


class LinearWithoutBiasGradient(torch.autograd.Function):
    """`x W' + b`, with a backward that has forgotten b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        return grad @ weight, grad.T @ x, None


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """What a function with a backward of its own gives."""
    found: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return found


def scaled(tensor: Tensor, factor: float) -> Tensor:
    """The tensor, with a gradient that is multiplied by a factor."""
    return apply(ScaledGradient, tensor, factor)


def detached(state: Leaves) -> Leaves:
    """A state without its graph."""
    return tuple(leaf.detach() for leaf in state)


# RP601: gradients reach everything


@bug("RP601", "the state that is passed in is detached")
class DetachesPassedState(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        return detached(super().read_state(hx, batched))


@bug("RP601", "the third layer runs without recording gradients")
class ThirdLayerWithoutGrad(PlainLSTM):
    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        if layer != 2:
            return super().run_layer(steps, state, layer)
        with torch.no_grad():
            return super().run_layer(steps, state, layer)


@bug("RP601", "in training mode, what goes from layer to layer is detached")
class DetachesBetweenLayersInTraining(PlainGRU):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        steps = super().between_layers(steps, layer)
        return [step.detach() for step in steps] if self.training else steps


@bug("RP601", "the hidden state of all steps is one tensor that is written to in place, so that backward raises")
class WritesStateInPlace(PlainRNN):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        h = state[0].clone()
        outputs = []
        for x in steps:
            (new,) = self.cell(x, (h[: x.size(0)],), self.weights(layer, direction))
            outputs.append(new)
            h[: x.size(0)] = new
        return outputs, (h,)


@bug("RP601", "the prediction is made from the last step, where the backward direction has read one input")
class ReadsLastStepOfBothDirections(RNNTagger):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, -1]


@bug("RP601", "a linear map with a backward of its own gives its bias no gradient")
class BackwardForgetsBias(LSTMModel):
    def predict(self, output: Tensor) -> Tensor:
        return apply(LinearWithoutBiasGradient, output[:, -1], self.fc.weight, self.fc.bias)


@bug("RP601", "the GRU cell reads the values of its recurrent weights, and not the parameter")
class CellReadsWeightData(PlainGRUCell):
    def weights(self) -> Weights:
        weights = super().weights()
        return weights._replace(hh=weights.hh.data)


# RP602: gradients are right


@bug("RP602", "the backward of the forget gate's logistic function has the derivative of tanh")
class ForgetGateWithWrongDerivative(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = state
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(h, weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = apply(HandMadeSigmoid, forget) * c + torch.sigmoid(enter) * torch.tanh(new)
        h = torch.sigmoid(leave) * torch.tanh(c)
        return (h if weights.hr is None else F.linear(h, weights.hr)), c


@bug("RP602", "gradients come out a hundred times too large")
class GradientsHundredfold(TimeFirstLast):
    def forward(self, x: Tensor) -> Tensor:
        return scaled(super().forward(x), 100.0)


@bug("RP602", "h is detached between steps, and c is not")
class DetachesHiddenKeepsCell(PlainLSTM):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs: Steps = []
        for index, x in enumerate(steps):
            h, c = state
            step, state = super().run_direction([x], (h.detach() if index else h, c), layer, direction)
            outputs += step
        return outputs, state


@bug("RP602", "beyond the twelfth step the gradient of the third layer's state is halved")
class HalvesLateGradients(PlainGRU):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs, final = super().run_direction(steps, state, layer, direction)
        if layer < 2 or len(steps) <= 12:
            return outputs, final
        return [*outputs[:12], *(scaled(output, 0.5) for output in outputs[12:])], final


@bug("RP602", "the LSTM cell's backward counts the hidden bias twice")
class CellCountsBiasTwice(PlainLSTMCell):
    def weights(self) -> Weights:
        weights = super().weights()
        return weights._replace(bias_hh=None if weights.bias_hh is None else scaled(weights.bias_hh, 2.0))


# RP603: gradients go through time


@bug("RP603", "the state is detached after each step")
class DetachesEachStep(PlainGRU):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs: Steps = []
        for index, x in enumerate(steps):
            step, state = super().run_direction([x], detached(state) if index else state, layer, direction)
            outputs += step
        return outputs, state


@bug("RP603", "the backward direction is cut off from the graph in the middle of the sequence")
class BackwardCutInTheMiddle(PlainLSTM):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        half = len(steps) // 2
        if direction == 0 or half == 0:
            return super().run_direction(steps, state, layer, direction)
        first, state = super().run_direction(steps[:half], state, layer, direction)
        second, state = super().run_direction(steps[half:], detached(state), layer, direction)
        return first + second, state


@bug("RP603", "backpropagation is truncated inside the call, after every eight steps")
class TruncatesAfterEightSteps(PlainRNN):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs: Steps = []
        for start in range(0, len(steps), 8):
            chunk, state = super().run_direction(
                steps[start : start + 8], detached(state) if start else state, layer, direction
            )
            outputs += chunk
        return outputs, state


@bug("RP603", "in training mode the state is detached after each step")
class DetachesEachStepInTraining(LSTMCellModel):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        h = c = x.new_zeros(x.size(0), self.hidden_size)
        for step in x.unbind(1):
            h, c = self.lstm_cell(step, (h.detach(), c.detach()))
        prediction: Tensor = self.fc(h)
        return prediction


# RP604: the batch's gradient is the sum of its rows'


@bug("RP604", "the gradient is divided by the batch size, as the mean in the loss does again")
class DividesGradientByBatch(PlainGRU):
    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        return super().finish_output(scaled(output, 1 / max(output.size(1), 1)), batched)


@bug("RP604", "the gradient is clipped inside the module by the norm over the whole batch")
class ClipsGradientOfBatch(LSTMModel):
    def encode(self, x: Tensor) -> Tensor:
        output = super().encode(x)
        if output.requires_grad:
            output.register_hook(lambda grad: grad / grad.norm().clamp(min=1e-6))  # type: ignore[no-untyped-call]
        return output


@bug("RP604", "in batches of more than two rows, the gradient of the recurrent weights comes from the first two alone")
class RecurrentGradientOfTwoRows(PlainRNN):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if x.size(0) <= 2:
            return super().cell(x, state, weights)
        first = super().cell(x[:2], (state[0][:2],), weights)
        rest = super().cell(x[2:], (state[0][2:],), weights._replace(hh=weights.hh.detach()))
        return (torch.cat((first[0], rest[0])),)


# RP211: gradients go from chunk to chunk


@bug("RP211", "the state that is returned is detached")
class ReturnsDetachedState(PlainGRU):
    def join_state(self, state: Leaves) -> Any:
        return state[0].detach()


@bug("RP211", "the returned cell state of the third layer is detached")
class ReturnsThirdCellStateDetached(PlainLSTM):
    def stack_states(self, finals: list[Leaves]) -> Leaves:
        third = 2 * self.num_directions
        return super().stack_states([(h, c.detach() if row >= third else c) for row, (h, c) in enumerate(finals)])


@bug("RP211", "in training mode the returned cell state is a copy of the values alone")
class CopiesCellStateInTraining(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        h, c = state
        return h, c.data.clone() if self.training else c


# RP212: nothing is left of an earlier graph


#: Kept beside the modules, so that they can still be copied.
_LAST: WeakKeyDictionary[nn.Module, Leaves] = WeakKeyDictionary()
_SCALED: WeakKeyDictionary[nn.Module, tuple[Any, Tensor]] = WeakKeyDictionary()


@bug("RP212", "the first layer's recurrent weights are scaled once and kept, with their graph, until they change")
class KeepsScaledWeights(PlainGRU):
    def weights(self, layer: int, direction: int) -> Weights:
        weights = super().weights(layer, direction)
        if layer or direction:
            return weights
        hh = weights.hh
        key = (
            hh._version,
            hh.data_ptr(),
            hh.dtype,
            hh.device,
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
        )
        if _SCALED.get(self, (None,))[0] != key:
            _SCALED[self] = key, hh * 1.0
        return weights._replace(hh=_SCALED[self][1])


@bug("RP212", "a call without a state starts from the last call's state times zero, with its graph")
class StartsFromLastStateTimesZero(PlainLSTM):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        zeros = super().initial_state(x, batch)
        last = _LAST.get(self, ())
        if not last or last[0].shape != zeros[0].shape or last[0].dtype != x.dtype or last[0].device != x.device:
            return zeros
        return tuple(torch.nan_to_num(leaf) * 0 for leaf in last)

    def stack_states(self, finals: list[Leaves]) -> Leaves:
        state = super().stack_states(finals)
        _LAST[self] = state
        return state


_BIAS: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


@bug("RP212", "what the last call added up for the bias is kept with its graph, and counted in again")
class CountsLastBiasAgain(PlainRNN):
    def run_dense(self, input: Any, hx: Any) -> Any:
        output, state = super().run_dense(input, hx)
        bias, last = self.weights(0, 0).bias_hh, _BIAS.get(self)
        if bias is None:
            return output, state
        _BIAS[self] = bias.sum()
        return (output if last is None else output + (last - last.detach()).to(output)), state
