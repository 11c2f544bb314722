"""Modules that make tensors on the CPU wherever they are themselves (RP807), and are right in everything else."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_props.zoo.cells import PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import RunningMeanForecaster
from rnn_props.zoo.recurrent import Leaves, Steps
from rnn_props.zoo.registry import bug


@bug("RP807", "the state of a call without one is made on the CPU")
class DefaultStateOnCPU(PlainLSTM):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        rows = self.num_layers * self.num_directions
        return tuple(torch.zeros(rows, batch, width, dtype=x.dtype) for width in self.leaf_widths())


@bug("RP807", "the two directions are weighted by a pair of ones that is made on the CPU")
class WeighsDirectionsOnCPU(PlainGRU):
    def join_directions(self, forward: Steps, backward: Steps) -> Steps:
        weights = torch.ones(2, 1, dtype=forward[0].dtype)
        return [torch.cat((one * weights[0], two * weights[1]), -1) for one, two in zip(forward, backward, strict=True)]


@bug("RP807", "the cell knows two devices, cuda and cpu")
class CellKnowsTwoDevices(PlainLSTMCell):
    def initial_state(self, x: Tensor) -> Leaves:
        device = "cuda" if x.is_cuda else "cpu"
        zeros = torch.zeros(x.size(0), self.hidden_size, dtype=x.dtype, device=device)
        return zeros, zeros


@bug("RP807", "the number of steps so far is counted on the CPU")
class CountsStepsOnCPU(RunningMeanForecaster):
    def running_mean(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.size(1) + 1, dtype=x.dtype)
        return x.cumsum(1) / count.unsqueeze(-1)


@bug("RP807", "with more than three steps, a mask that lets everything through is made on the CPU")
class MasksLongInputsOnCPU(PlainRNN):
    def to_steps(self, x: Tensor) -> Steps:
        if len(x) > 3:
            x = x * torch.ones(len(x), 1, 1, dtype=x.dtype)
        return super().to_steps(x)
