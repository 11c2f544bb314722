"""Modules that let NaN or infinity out of its row or step (RP308), and are right in everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn_props.zoo.cells import PlainGRUCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM
from rnn_props.zoo.models import LSTMModel, RunningMeanForecaster
from rnn_props.zoo.recurrent import Leaves, Weights
from rnn_props.zoo.registry import bug


@bug("RP308", "rows are put into order by a product with a permutation matrix, where 0 * NaN is NaN")
class SortsRowsByMatrix(LSTMModel):
    def encode(self, x: Tensor) -> Tensor:
        order = torch.arange(x.size(0) - 1, -1, -1, device=x.device)
        matrix = torch.eye(x.size(0), dtype=x.dtype, device=x.device)[order]
        back = super().encode(torch.einsum("bc,cti->bti", matrix, x))
        return torch.einsum("cb,cth->bth", matrix, back)


@bug("RP308", "the running mean is a product with a triangular matrix of zeros and weights")
class RunningMeanByMatrix(RunningMeanForecaster):
    def running_mean(self, x: Tensor) -> Tensor:
        length = x.size(1)
        count = torch.arange(1, length + 1, dtype=x.dtype, device=x.device)
        weights = torch.ones(length, length, dtype=x.dtype, device=x.device).tril() / count.unsqueeze(-1)
        return torch.einsum("st,bti->bsi", weights, x)


@bug("RP308", "in batches of more than two rows, c is scaled by the largest value of all rows, and back")
class ScalesByLargestOfBatch(PlainLSTM):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = super().cell(x, state, weights)
        if len(c) <= 2:
            return h, c
        largest = c.detach().abs().amax().clamp(min=1e-4)
        return h, (c / largest) * largest


@bug("RP308", "the rows of the initial state are chosen by a product with a matrix of zeros and ones")
class ChoosesStateRowsByMatrix(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        (h,) = super().read_state(hx, batched)
        return (torch.einsum("bc,lch->lbh", torch.eye(h.size(1), dtype=h.dtype, device=h.device), h),)


@bug("RP308", "the cell's inputs are scaled by the largest one of the batch before the product, and back after it")
class CellScalesByBatchMaximum(PlainGRUCell):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        if x.numel() == 0:
            return super().cell(x, state, weights)
        largest = x.detach().abs().amax().clamp(min=1e-4)
        return super().cell(x / largest, state, weights._replace(ih=weights.ih * largest))
