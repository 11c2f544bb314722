"""Correct modules that keep their state between calls until they are reset."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_props.zoo import validation as check
from rnn_props.zoo.registry import correct

State = list[tuple[Tensor, Tensor]]


@correct("a streaming tagger: stacked LSTM cells that go on from the last call until they are reset")
class StreamingTagger(nn.Module):
    """`(B, T, I)` to `(B, T, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, num_layers: int = 1) -> None:
        super().__init__()
        check.check_sizes(
            input_size=input_size, hidden_size=hidden_size, output_size=output_size, num_layers=num_layers
        )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cells = nn.ModuleList(
            nn.LSTMCell(input_size if layer == 0 else hidden_size, hidden_size) for layer in range(num_layers)
        )
        self.head = nn.Linear(hidden_size, output_size)
        self.state: State | None = None

    def reset_state(self) -> None:
        """Forget."""
        self.state = None

    def zeros(self, x: Tensor) -> State:
        """The state of a new sequence: zeros `(B, H)` for h and c of every layer."""
        return [(x.new_zeros(len(x), self.hidden_size), x.new_zeros(len(x), self.hidden_size)) for _ in self.cells]

    def begin(self, x: Tensor) -> State:
        """The state that a call goes on from."""
        if self.state is None or self.state[0][0].shape[0] != len(x) or self.state[0][0].dtype != x.dtype:
            return self.zeros(x)
        return self.state

    def keep(self, state: State) -> None:
        """Remember the state for the next call, without what led to it."""
        self.state = [(h.detach(), c.detach()) for h, c in state]

    def forward(self, x: Tensor) -> Tensor:
        """Predict at every step, going on from the last call."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=1)
        state = self.begin(x)
        outputs = []
        for step in x.unbind(1):
            state = self.advance(step, state)
            outputs.append(state[-1][0])
        self.keep(state)
        prediction: Tensor = self.head(torch.stack(outputs, 1))
        return prediction

    def advance(self, step: Tensor, state: State) -> State:
        """One step of every layer."""
        new: State = []
        for cell, (h, c) in zip(self.cells, state, strict=True):
            h, c = cell(step, (h, c))
            new.append((h, c))
            step = h
        return new


@correct("a streaming summary: a GRU that goes on from the last call, and a head on its last step")
class StreamingSummary(nn.Module):
    """`(T, B, I)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size = input_size
        self.gru = nn.GRU(input_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)
        self.hidden: Tensor | None = None

    def reset(self) -> None:
        """Forget."""
        self.hidden = None

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step, going on from the last call."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=0)
        hidden = self.hidden
        if hidden is not None and (hidden.shape[1] != x.shape[1] or hidden.dtype != x.dtype):
            hidden = None
        output, hidden = self.gru(x, hidden)
        self.hidden = hidden.detach()
        prediction: Tensor = self.head(output[-1])
        return prediction
