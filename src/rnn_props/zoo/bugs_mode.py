"""Modules that depend on chance, mode or global settings where they must not (RP501 to RP506)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rnn_props.zoo.cells import PlainGRUCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMModel, RNNTagger, SequenceClassifier
from rnn_props.zoo.recurrent import Leaves, Steps, Weights
from rnn_props.zoo.registry import bug

# RP501: evaluation repeats


@bug("RP501", "dropout between layers stays on in eval mode")
class DropsOutInEval(PlainLSTM):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        return [F.dropout(step, float(self.dropout)) for step in steps]


@bug("RP501", "without a state, a new random one is drawn for each call")
class StartsFromRandomState(PlainGRU):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        return tuple(torch.randn_like(leaf) for leaf in super().initial_state(x, batch))


@bug("RP501", "the dropout before the head is a function that was not told the mode")
class FunctionalDropoutAlwaysOn(SequenceClassifier):
    def drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, 0.3)


@bug("RP501", "the cell keeps random units of its old state in eval mode too")
class CellZonesOutInEval(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = super().cell(x, state, weights)
        return (torch.where(torch.rand_like(h) < 0.2, state[0], h),)


# RP505: global settings stay


@bug("RP505", "a call turns grad mode off for its bookkeeping and leaves it off")
class LeavesGradModeOff(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        torch.set_grad_enabled(False)
        return super().join_state(state)


@bug("RP505", "a call sets the default dtype to that of its input")
class SetsDefaultDtype(PlainGRU):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        torch.set_default_dtype(x.dtype)
        return (torch.zeros(self.num_layers * self.num_directions, batch, self.hidden_size, device=x.device),)


@bug("RP505", "a model sets torch's number of threads for its own good")
class SetsThreadCount(LSTMModel):
    def encode(self, x: Tensor) -> Tensor:
        torch.set_num_threads(3)
        return super().encode(x)


@bug("RP505", "a tagger makes all later operations of the process deterministic or fail")
class ForcesDeterministicAlgorithms(RNNTagger):
    def forward(self, x: Tensor) -> Tensor:
        torch.use_deterministic_algorithms(True)
        return super().forward(x)


# RP506: grad mode changes nothing


@bug("RP506", "the path without gradients leaves out the hidden bias")
class FastPathDropsHiddenBias(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        fast = not torch.is_grad_enabled()
        return super().cell(x, state, weights._replace(bias_hh=None) if fast else weights)


@bug("RP506", "in inference mode the gates are rounded to three digits for speed")
class InferenceModeRoundsState(PlainRNN):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = super().cell(x, state, weights)
        return (h.mul(1000).round().div(1000) if torch.is_inference_mode_enabled() else h,)


@bug("RP506", "without gradients, a layer without biases gets a forget bias of one")
class FastPathAddsForgetBias(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if self.bias or torch.is_grad_enabled():
            return super().cell(x, state, weights)
        forget = x.new_zeros(4, self.hidden_size)
        forget[1] = 1
        return super().cell(x, state, weights._replace(bias_ih=forget.flatten()))
