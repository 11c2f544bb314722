"""A module for irregularly sampled series, which takes the time between steps, and one that mixes it up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_props.zoo.registry import bug, correct
from rnn_props.zoo.validation import check_sizes, check_tensor


@correct("a GRU whose state decays with the time between steps")
class DecayingGRU(nn.Module):
    """`(B, T, I)` and spans `(B, T)` to `(B, T, H)` and the final state `(B, H)`; spans are 1 where none are given.

    Raises:
        TypeError: if the state is no tensor.
        ValueError: if a size is not positive, or the input, the state or the spans have other sizes.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.cell = nn.GRUCell(input_size, hidden_size)
        self.rate = nn.Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor, h0: Tensor | None = None, timespans: Tensor | None = None) -> tuple[Tensor, Tensor]:
        size = self.cell.hidden_size
        if x.dim() != 3 or x.size(-1) != self.cell.input_size or x.size(1) == 0:
            raise ValueError(f"expected an input (B, T, {self.cell.input_size}), got {tuple(x.shape)}")
        h = x.new_zeros(x.size(0), size) if h0 is None else check_tensor("h0", h0)
        if h.shape != (x.size(0), size) or h.dtype != x.dtype:
            raise ValueError(f"expected a state ({x.size(0)}, {size}) of {x.dtype}, got {tuple(h.shape)} of {h.dtype}")
        if timespans is not None and timespans.shape != x.shape[:2]:
            raise ValueError(f"expected time spans {tuple(x.shape[:2])}, got {tuple(timespans.shape)}")
        steps = []
        for step in range(x.size(1)):
            h = h * self.decay(None if timespans is None else timespans[:, step], x)
            h = self.cell(x[:, step], h)
            steps.append(h)
        return torch.stack(steps, 1), h

    def decay(self, span: Tensor | None, x: Tensor) -> Tensor:
        """How much of each unit is left after a span `(B,)`."""
        return torch.exp(-self.rate.abs() * (1.0 if span is None else span.unsqueeze(-1)))


@bug("RP310", "a row's time span is broadcast along the units when the batch is as large as the hidden size")
class SpansAlongUnits(DecayingGRU):
    def decay(self, span: Tensor | None, x: Tensor) -> Tensor:
        if span is not None and span.size(0) == self.rate.size(0) > 1:
            return torch.exp(-self.rate.abs() * span)
        return super().decay(span, x)
