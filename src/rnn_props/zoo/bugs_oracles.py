"""Modules whose every general property holds, and which compute something else than they should (RPAxx)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell, PlainRNNCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN, gru_step, lstm_step, rnn_step
from rnn_props.zoo.fast import (
    CompactGRUCell,
    FusedGRULayer,
    MinGRUScan,
    like_the_formula,
    like_the_loop,
    like_torchs_cell,
)
from rnn_props.zoo.recurrent import Leaves, Weights
from rnn_props.zoo.registry import bug

# RPA01: torch.nn's formula, with torch.nn's weights


def _each(change: Callable[[Tensor], Tensor], weights: Weights) -> Weights:
    """The weights, changed in the same way in each tensor that has the gates stacked."""
    return weights._replace(
        ih=change(weights.ih),
        hh=change(weights.hh),
        bias_ih=None if weights.bias_ih is None else change(weights.bias_ih),
        bias_hh=None if weights.bias_hh is None else change(weights.bias_hh),
    )


def _reordered(weights: Weights, order: tuple[int, ...]) -> Weights:
    """The weights with their blocks of gates in another order."""

    def reorder(stacked: Tensor) -> Tensor:
        blocks = stacked.chunk(len(order))
        return torch.cat([blocks[index] for index in order])

    return _each(reorder, weights)


@bug("RPA01", "the GRU's gates are stacked in the order z, r, n")
class UpdateGateFirst(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return (gru_step(x, state[0], _reordered(weights, (1, 0, 2))),)


@bug("RPA01", "the GRU's reset gate multiplies the state before the matrix: W(r*h) in place of r*(W h + b)")
class ResetsBeforeTheMatrix(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (h,) = state
        reset_x, update_x, new_x = F.linear(x, weights.ih, weights.bias_ih).chunk(3, -1)
        size = 2 * self.hidden_size
        biases = (None, None) if weights.bias_hh is None else (weights.bias_hh[:size], weights.bias_hh[size:])
        reset_h, update_h = F.linear(h, weights.hh[:size], biases[0]).chunk(2, -1)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + F.linear(torch.sigmoid(reset_x + reset_h) * h, weights.hh[size:], biases[1]))
        return ((1 - update) * new + update * h,)


@bug("RPA01", "the hidden bias of the GRU's candidate stands outside the product with the reset gate")
class HiddenBiasOutsideReset(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if weights.bias_ih is None or weights.bias_hh is None:
            return super().cell(x, state, weights)
        size = 2 * self.hidden_size
        inside = torch.cat((weights.bias_hh[:size], torch.zeros_like(weights.bias_hh[size:])))
        outside = torch.cat((torch.zeros_like(weights.bias_hh[:size]), weights.bias_hh[size:]))
        return super().cell(x, state, weights._replace(bias_ih=weights.bias_ih + outside, bias_hh=inside))


@bug("RPA01", "the GRU cell keeps the new where torch keeps the old: z and 1-z are exchanged")
class KeepsWhereTorchRenews(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        def negated(stacked: Tensor) -> Tensor:
            reset, update, new = stacked.chunk(3)
            return torch.cat((reset, -update, new))  # sigmoid(-a) is 1 - sigmoid(a)

        return super().cell(x, state, _each(negated, weights))


@bug("RPA01", "the LSTM's gates are stacked in the order i, f, o, g")
class OutputGateBeforeCandidate(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return lstm_step(x, state[0], state[1], _reordered(weights, (0, 1, 3, 2)))


@bug("RPA01", "one is added to the forget gate at every step, not once to its bias")
class AddsForgetBias(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = state
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(h, weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = torch.sigmoid(forget + 1) * c + torch.sigmoid(enter) * torch.tanh(new)
        h = torch.sigmoid(leave) * torch.tanh(c)
        return (h if weights.hr is None else F.linear(h, weights.hr)), c


@bug("RPA01", "the cell state leaves the LSTM without its tanh")
class LeavesOutLastTanh(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = state
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(h, weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
        h = torch.sigmoid(leave) * c
        return (h if weights.hr is None else F.linear(h, weights.hr)), c


@bug("RPA01", "with proj_size the state is projected before the output gate, which then opens on its first units")
class GatesAfterProjection(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if weights.hr is None:
            return super().cell(x, state, weights)
        h, c = state
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(h, weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave)[:, : self.proj_size] * F.linear(torch.tanh(c), weights.hr), c


@bug("RPA01", "the LSTM cell's forget gate sees the cell state, as with a peephole")
class ForgetGateSeesCell(PlainLSTMCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = state
        gates = F.linear(x, weights.ih, weights.bias_ih) + F.linear(h, weights.hh, weights.bias_hh)
        enter, forget, new, leave = gates.chunk(4, -1)
        c = torch.sigmoid(forget + c) * c + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(leave) * torch.tanh(c), c


@bug("RPA01", "the hidden bias is added twice")
class AddsHiddenBiasTwice(PlainRNN):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        doubled = None if weights.bias_hh is None else 2 * weights.bias_hh
        return super().cell(x, state, weights._replace(bias_hh=doubled))


@bug("RPA01", "tanh is approximated by x/(1+|x|)")
class SoftsignForTanh(PlainRNN):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if self.nonlinearity == "relu":
            return super().cell(x, state, weights)
        total = F.linear(x, weights.ih, weights.bias_ih) + F.linear(state[0], weights.hh, weights.bias_hh)
        return (F.softsign(total),)


@bug("RPA01", "where their shapes are the same, the weights of input and state are told apart wrongly")
class ExchangesWeightsOfOneShape(PlainGRU):
    def weights(self, layer: int, direction: int) -> Weights:
        found = super().weights(layer, direction)
        return found._replace(ih=found.hh, hh=found.ih) if found.ih.shape == found.hh.shape else found


@bug("RPA01", "the RNN cell takes tanh, whatever nonlinearity it was given")
class CellIgnoresNonlinearity(PlainRNNCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return (rnn_step(x, state[0], weights, "tanh"),)


# RPA02: the reference of the contract


@bug("RPA02", "the single projection is split into candidate and gate in the other order", contract=like_the_loop)
class SplitsCandidateFirst(MinGRUScan):
    def split(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        candidate, gate = projected.chunk(2, -1)
        return gate, candidate


@bug("RPA02", "units after the last full block of four go through a cheaper sigmoid", contract=like_the_loop)
class CheapSigmoidInPartialBlock(MinGRUScan):
    def squash_gate(self, gate: Tensor) -> Tensor:
        full = gate.size(-1) // 4 * 4 or gate.size(-1)
        rest = F.softsign(gate[..., full:] / 2) / 2 + 0.5
        return torch.cat((torch.sigmoid(gate[..., :full]), rest), -1)


@bug("RPA02", "the biases of reset and update are exchanged when they are loaded", contract=like_the_formula)
class ExchangesGateBiases(FusedGRULayer):
    def gate_biases(self) -> Tensor:
        reset, update, new = self.bias.chunk(3)
        return torch.cat((update, reset, new))


@bug("RPA02", "the update gate keeps the new state where the reference keeps the old", contract=like_torchs_cell)
class MixesTheOtherWay(CompactGRUCell):
    def mix(self, update: Tensor, new: Tensor, h: Tensor) -> Tensor:
        return h + update * (new - h)
