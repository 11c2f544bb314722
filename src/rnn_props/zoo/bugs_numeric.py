"""Modules that lose digits, overflow where they should saturate, or go wrong in long sequences (RP701 to RP703)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props.contracts import Contract
from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.fast import MinGRUScan, like_the_loop
from rnn_props.zoo.flags import MaskedClassifier
from rnn_props.zoo.recurrent import Leaves, Steps, Weights
from rnn_props.zoo.registry import bug

# RP701: digits


def _through(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """The values with the digits of another dtype."""
    return leaf.to(dtype).to(leaf.dtype)


@bug("RP701", "the state is kept in bfloat16 between steps, whatever the module's dtype")
class KeepsStateInBfloat16(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return tuple(_through(leaf, torch.bfloat16) for leaf in super().cell(x, state, weights))


@bug("RP701", "a fast path for float32 runs the cell in bfloat16")
class RunsFloat32InBfloat16(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if x.dtype != torch.float32:
            return super().cell(x, state, weights)
        low = Weights(*(None if weight is None else weight.bfloat16() for weight in weights))  # type: ignore[arg-type]
        new = super().cell(x.bfloat16(), tuple(leaf.bfloat16() for leaf in state), low)
        return tuple(leaf.to(x.dtype) for leaf in new)


@bug("RP701", "in float32 the cell state is summed up in float16")
class SumsCellStateInFloat16(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = super().cell(x, state, weights)
        return h, (_through(c, torch.float16) if c.dtype == torch.float32 else c)


@bug("RP701", "in eval mode float32 states go through float16, to save memory")
class HalvesStateForInference(PlainGRU):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        if not self.training and steps[0].dtype == torch.float32:
            state = tuple(_through(leaf, torch.float16) for leaf in state)
        return super().run_direction(steps, state, layer, direction)


@bug("RP701", "from the third layer on, what comes from the layer below goes through bfloat16 if it is float32")
class NarrowsBetweenUpperLayers(PlainRNN):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        steps = super().between_layers(steps, layer)
        if layer < 2 or steps[0].dtype != torch.float32:
            return steps
        return [_through(step, torch.bfloat16) for step in steps]


class _TanhSavedInHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y.half() if y.dtype == torch.float32 else y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        slope: Tensor = 1 - y.to(grads[0].dtype) ** 2
        return grads[0] * slope


@bug("RP701", "the backward pass of tanh reads float32 activations that were saved in float16")
class SavesActivationsInHalf(PlainRNN):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if self.nonlinearity != "tanh":
            return super().cell(x, state, weights)
        sums = F.linear(x, weights.ih, weights.bias_ih) + F.linear(state[0], weights.hh, weights.bias_hh)
        return (_TanhSavedInHalf.apply(sums),)  # type: ignore[no-untyped-call]


@bug("RP701", "the float32 GRU cell mixes the old and the new state with bfloat16 numbers")
class CellMixesInBfloat16(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = super().cell(x, state, weights)
        return ((state[0] + _through(h - state[0], torch.bfloat16)) if h.dtype == torch.float32 else h,)


class _FewerBits(torch.autograd.Function):
    """float32 numbers rounded to 20 significant bits; gradients as they come."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return ((x.view(torch.int32) + 8) & ~15).view(torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


@bug("RP701", "the float32 state is packed into 28 bits between steps: the last four of its digits are lost")
class PacksState(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        new = super().cell(x, state, weights)
        if x.dtype != torch.float32:
            return new
        return tuple(_FewerBits.apply(leaf) for leaf in new)  # type: ignore[no-untyped-call]


class _NarrowTable(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return _through(super().forward(input), torch.bfloat16)


@bug("RP701", "the vectors of tokens go through bfloat16, whatever the module's dtype")
class LooksUpInBfloat16(MaskedClassifier):
    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int, num_classes: int) -> None:
        super().__init__(vocab_size, embedding_dim, hidden_dim, num_classes)
        self.table = _NarrowTable(vocab_size, embedding_dim, padding_idx=0)


# RP702: saturation


def _sigmoid_by_exp(x: Tensor) -> Tensor:
    return torch.exp(x) / (1 + torch.exp(x))


def _tanh_by_exp(x: Tensor) -> Tensor:
    return (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1)


def _sigmoid_by_where(x: Tensor) -> Tensor:
    """Right for every x; the gradient of the branch that is not taken is NaN where exp overflows."""
    return torch.where(x >= 0, 1 / (1 + torch.exp(-x)), torch.exp(x) / (1 + torch.exp(x)))


@bug("RP702", "gates are exp(x) / (1 + exp(x)), which is inf / inf for large x")
class SigmoidByExponentials(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(state[0], weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = _sigmoid_by_exp(forget) * state[1] + _sigmoid_by_exp(enter) * torch.tanh(new)
        h = _sigmoid_by_exp(leave) * torch.tanh(c)
        return (h if weights.hr is None else F.linear(h, weights.hr)), c


@bug("RP702", "the sigmoid is right for every x, but its gradient is NaN for large ones")
class SigmoidByWhere(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = state
        reset_x, update_x, new_x = F.linear(x, weights.ih, weights.bias_ih).chunk(3, -1)
        reset_h, update_h, new_h = F.linear(h, weights.hh, weights.bias_hh).chunk(3, -1)
        update = _sigmoid_by_where(update_x + update_h)
        new = torch.tanh(new_x + _sigmoid_by_where(reset_x + reset_h) * new_h)
        return ((1 - update) * new + update * h,)


@bug("RP702", "tanh of the cell state is computed with exponentials: a large cell state gives NaN")
class CellStateOverflows(PlainLSTMCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(state[0], weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * _tanh_by_exp(c), c


@bug("RP702", "the gate of a scan is a softmax without the maximum subtracted", contract=like_the_loop)
class SoftmaxGateOverflows(MinGRUScan):
    def squash_gate(self, gate: Tensor) -> Tensor:
        return _sigmoid_by_exp(gate)


# RP703: long sequences


def _without_reference(build: type[nn.Module]) -> Contract:
    return replace(like_the_loop(build), reference=None, reference_weights={})


@bug("RP703", "the scan divides by the product of all gates so far, which underflows", contract=_without_reference)
class ScanByRunningProduct(MinGRUScan):
    def squash_gate(self, gate: Tensor) -> Tensor:
        return torch.sigmoid(gate) / 2

    def run(self, x: Tensor, h: Tensor) -> Tensor:
        gate, candidate = self.split(self.project(x))
        gate = self.squash_gate(gate)
        kept = torch.cumprod(1 - gate, 0)
        return kept * (h + torch.cumsum(gate * self.squash_candidate(candidate) / kept, 0))


@bug("RP703", "from the 101st step on the cell state of a float32 module goes through float16")
class HalvesLongCellStates(PlainLSTM):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        if steps[0].dtype != torch.float32:
            return super().run_direction(steps, state, layer, direction)
        outputs, state = super().run_direction(steps[:100], state, layer, direction)
        for step in steps[100:]:
            state = (state[0], _through(state[1], torch.float16))
            more, state = super().run_direction([step], state, layer, direction)
            outputs = outputs + more
        return outputs, state
