"""Correct modules as people write them, each with a habit that a careless check would accuse."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNormInside(nn.Module):
    """In training mode one row of one step is refused by torch's batch norm."""

    def __init__(self, input_dim: int, hidden_dim: int, num_classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(input_dim)
        self.gru = nn.GRU(input_dim, hidden_dim, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.gru(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return F.log_softmax(self.head(self.dropout(output[:, -1])), -1)


class AttentionPooling(nn.Module):
    """Two directions by default, pooled over time."""

    def __init__(
        self, in_features: int, hidden_size: int = 16, out_features: int = 2, bidirectional: bool = True
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(in_features, hidden_size, batch_first=True, bidirectional=bidirectional)
        width = hidden_size * (2 if bidirectional else 1)
        self.score, self.head = nn.Linear(width, 1), nn.Linear(width, out_features)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.lstm(x)
        result: Tensor = self.head((torch.softmax(self.score(output), 1) * output).sum(1))
        return result


class CellWithRequiredState(nn.Module):
    """A cell that broadcasts, since it is made of linear layers alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.of_input, self.of_state = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.of_input(x) + self.of_state(h))


class BatchFirstByDefault(nn.Module):
    """A thin wrapper with a part of torch's arguments."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, batch_first: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=batch_first, dropout=dropout)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, state = self.lstm(x, state)
        return output, state


class MinimalGru(nn.Module):
    """Gates that do not see the state."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(dim, hidden_dim), nn.Linear(dim, hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        z, n = torch.sigmoid(self.gate(x)), torch.tanh(self.candidate(x))
        h, outputs = torch.zeros_like(n[:, 0]), []
        for step in range(x.shape[1]):
            h = (1 - z[:, step]) * h + z[:, step] * n[:, step]
            outputs.append(h)
        return torch.stack(outputs, 1)


class ResidualStack(nn.Module):
    """One width everywhere; a stack of -1 layers is empty."""

    def __init__(self, d_model: int, n_layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.GRU(d_model, d_model, batch_first=True) for _ in range(n_layers)])
        self.norm, self.dropout = nn.LayerNorm(d_model), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.norm(x + self.dropout(layer(x)[0]))
        return x


class StateSpace(nn.Module):
    """torch's argument names and another contract: batch first, an output as wide as the input, a state (B, H)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(hidden_size) * 2)
        self.into, self.out = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, input_size)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        driven = self.into(x)
        h = driven.new_zeros(driven.shape[0], driven.shape[-1]) if state is None else state
        outputs = []
        for step in range(x.shape[1]):
            h = torch.sigmoid(self.decay) * h + driven[:, step]
            outputs.append(h)
        return self.out(torch.stack(outputs, 1)), h


class OneNumberARow(nn.Module):
    """A regression: an output without a feature axis, and ReLU units that may be dead."""

    def __init__(self, n_features: int, hidden: int = 8) -> None:
        super().__init__()
        self.rnn = nn.RNN(n_features, hidden, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.rnn(x)[1][-1]).squeeze(-1)
        return result


class UncommonWidthName(nn.Module):
    """The width of the input has a name that says nothing."""

    def __init__(self, vocab_width: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(vocab_width, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.gru(x)[0]
        return output
