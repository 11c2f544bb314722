"""Modules that lose, mix up or make up their hidden state (RP201 to RP205), and are right in everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.recurrent import Leaves, Steps
from rnn_props.zoo.registry import bug

# RP201: a sequence in chunks


@bug("RP201", "the cell state that comes back is one step old, unless there was only one step")
class ReturnsOldCellState(PlainLSTM):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        outputs, (h, c) = super().run_direction(steps, state, layer, direction)
        if len(steps) > 1:
            c = super().run_direction(steps[:-1], state, layer, direction)[1][1]
        return outputs, (h, c)


@bug("RP201", "lower layers return the state before the nonlinearity")
class LowerLayersReturnPreActivation(PlainRNN):
    def stack_states(self, finals: list[Leaves]) -> Leaves:
        below = len(finals) - self.num_directions
        return super().stack_states([(h.asinh(),) if row < below else (h,) for row, (h,) in enumerate(finals)])


@bug("RP201", "the returned cell states of the two directions are swapped")
class SwapsCellStateDirections(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        h, c = state
        if self.bidirectional:
            c = c.reshape(self.num_layers, 2, *c.shape[1:]).flip(1).reshape(c.shape)
        return h, c


@bug("RP201", "cell states come back top layer first, and are read bottom layer first")
class ReturnsCellStatesTopFirst(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        h, c = state
        return h, c.reshape(self.num_layers, self.num_directions, *c.shape[1:]).flip(0).reshape(c.shape)


@bug("RP201", "the returned cell state is clipped, so it can no longer grow from chunk to chunk")
class ClipsReturnedCellState(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        h, c = state
        return h, c.clamp(-0.25, 0.25)


# RP202: a sequence step by step


@bug("RP202", "the path for one step leaves out the hidden bias")
class SingleStepForgetsHiddenBias(PlainGRU):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        if len(steps) > 1:
            return super().run_direction(steps, state, layer, direction)
        (h,) = self.cell(steps[0], state, self.weights(layer, direction)._replace(bias_hh=None))
        return [h], (h,)


@bug("RP202", "for a single step, the third layer reads the first layer's output")
class SingleStepSkipsMiddleLayer(PlainRNN):
    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        if len(steps) > 1 or self.num_layers < 3 or self.bidirectional:
            return super().run_layers(steps, state)
        seen = [steps]
        finals = []
        for layer in range(self.num_layers):
            below = seen[1] if layer == 2 else seen[-1]
            outputs, final = self.run_layer(below, state, layer)
            seen.append(outputs)
            finals.extend(final)
        return seen[-1], self.stack_states(finals)


@bug("RP202", "a call of a single step first decays the state that it was given")
class SingleStepDecaysState(PlainLSTM):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        h, c = state
        return super().run_direction(steps, (h * 0.9 if len(steps) == 1 else h, c), layer, direction)


# RP203: no state means zeros


@bug("RP203", "layers above the first start from ones")
class UpperLayersStartFromOnes(PlainGRU):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        (h,) = super().initial_state(x, batch)
        return (torch.cat((h[: self.num_directions], h[self.num_directions :] + 1)),)


@bug("RP203", "without a state, the backward direction starts from where the forward direction ended")
class BackwardStartsFromForwardEnd(PlainLSTM):
    def run(self, input: Any, hx: Any) -> Any:
        self.default_state = hx is None
        return super().run(input, hx)

    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        if not (self.bidirectional and self.default_state):
            return super().run_layer(steps, state, layer)
        outputs, final = self.run_direction(steps, self.row_state(state, layer, 0), layer, 0)
        back, final_back = self.run_direction(steps[::-1], final, layer, 1)
        return self.join_directions(outputs, back[::-1]), [final, final_back]


@bug("RP203", "the default cell state is filled with the forget gate's hidden bias")
class DefaultCellStateFromBias(PlainLSTM):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        h, c = super().initial_state(x, batch)
        bias = self.weights(0, 0).bias_hh
        return h, c if bias is None else c + bias.chunk(4)[1]


@bug("RP203", "the GRU cell starts from ones")
class CellStartsFromOnes(PlainGRUCell):
    def initial_state(self, x: Tensor) -> Leaves:
        return (x.new_ones(x.size(0), self.hidden_size),)


# RP204: the final state and the output


@bug("RP204", "the backward direction's final state is taken where it began, at the last step")
class BackwardStateFromWrongEnd(PlainGRU):
    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        outputs, final = super().run_layer(steps, state, layer)
        if self.bidirectional and len(outputs[-1]) == len(outputs[0]):  # in a packed batch the first step has most rows
            final[1] = (outputs[-1].chunk(2, -1)[1],)
        return outputs, final


@bug("RP204", "states are ordered by direction and then by layer, going in and coming out")
class StateInWrongOrder(PlainLSTM):
    def row(self, layer: int, direction: int) -> int:
        return direction * self.num_layers + layer


@bug("RP204", "states are ordered from the top layer down, going in and coming out")
class TopLayerStateFirst(PlainRNN):
    def row(self, layer: int, direction: int) -> int:
        return super().row(self.num_layers - 1 - layer, direction)


@bug("RP204", "the output is averaged with the layer below, so it is no longer the hidden state")
class OutputBlendsLayers(PlainGRU):
    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        outputs, final = super().run_layers(steps, state)
        if self.num_layers < 2:
            return outputs, final
        for layer in range(self.num_layers - 1):
            steps = self.run_layer(steps, state, layer)[0]
        return [(top + below) / 2 for top, below in zip(outputs, steps, strict=True)], final


# RP205: the initial state is used


@bug("RP205", "the initial cell state is replaced by zeros")
class IgnoresInitialCellState(PlainLSTM):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        h, c = super().read_state(hx, batched)
        return h, torch.zeros_like(c)


@bug("RP205", "every layer starts from the first layer's state")
class StartsEveryLayerFromTheFirst(PlainGRU):
    def row_state(self, state: Leaves, layer: int, direction: int) -> Leaves:
        return super().row_state(state, 0, direction)


@bug("RP205", "above the first layer, the backward direction starts from the forward direction's state")
class UpperBackwardUsesForwardState(PlainLSTM):
    def row_state(self, state: Leaves, layer: int, direction: int) -> Leaves:
        return super().row_state(state, layer, 0 if layer else direction)


@bug("RP205", "the LSTM cell reads h and leaves c out")
class CellIgnoresCellState(PlainLSTMCell):
    def read_state(self, hx: Any) -> Leaves:
        h, c = super().read_state(hx)
        return h, torch.zeros_like(c)


@bug("RP205", "the third layer's initial state is dropped")
class DropsThirdLayersState(PlainRNN):
    def row_state(self, state: Leaves, layer: int, direction: int) -> Leaves:
        leaves = super().row_state(state, layer, direction)
        return tuple(torch.zeros_like(leaf) for leaf in leaves) if layer == 2 else leaves
