"""Correct models that keep their state to themselves: a batch of sequences goes in, predictions come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_props.zoo import validation as check
from rnn_props.zoo.registry import correct


@correct("an LSTM with explicit zero states and a linear head on the last step")
class LSTMModel(nn.Module):
    """`(B, T, I)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.check_arguments()
        self.lstm = nn.LSTM(self.input_size, self.hidden_size, batch_first=True)
        self.fc = nn.Linear(self.hidden_size, self.output_size)

    def check_arguments(self) -> None:
        """Raise unless every size is a positive integer."""
        check.check_sizes(input_size=self.input_size, hidden_size=self.hidden_size, output_size=self.output_size)

    def check_input(self, x: Tensor) -> None:
        """Raise unless the input is `(B, T, I)` with T > 0, of the weights' dtype and device."""
        check.check_sequence(x, self.input_size, self.fc.weight, length_dim=1)

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros `(1, B, H)` for h and c, of the input's dtype and on its device."""
        zeros = x.new_zeros(1, x.size(0), self.hidden_size)
        return zeros, zeros

    def encode(self, x: Tensor) -> Tensor:
        """The LSTM's output at every step: `(B, T, H)`."""
        output: Tensor = self.lstm(x, self.initial_state(x))[0]
        return output

    def predict(self, output: Tensor) -> Tensor:
        """The head on the last step: `(B, T, H)` to `(B, O)`."""
        prediction: Tensor = self.fc(output[:, -1])
        return prediction

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        self.check_input(x)
        return self.predict(self.encode(x))


@correct("a stack of LSTM layers with a zero state for each layer and a linear head on the last step")
class MultiLayerLSTM(nn.Module):
    """`(B, T, I)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(
            input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, output_size=output_size
        )
        self.input_size = input_size
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros `(L, B, H)` for h and c, of the input's dtype and on its device."""
        zeros = x.new_zeros(self.lstm.num_layers, x.size(0), self.lstm.hidden_size)
        return zeros, zeros

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the top layer's last step."""
        check.check_sequence(x, self.input_size, self.fc.weight, length_dim=1)
        output = self.lstm(x, self.initial_state(x))[0]
        prediction: Tensor = self.fc(output[:, -1])
        return prediction


@correct("a Python loop over one LSTM cell with a linear head on the last step")
class LSTMCellModel(nn.Module):
    """`(B, T, I)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        check.check_sequence(x, self.input_size, self.fc.weight, length_dim=1)
        h = c = x.new_zeros(x.size(0), self.hidden_size)
        for step in x.unbind(1):
            h, c = self.lstm_cell(step, (h, c))
        prediction: Tensor = self.fc(h)
        return prediction


@correct("a tagger: an RNN in one or two directions with a linear head on every step")
class RNNTagger(nn.Module):
    """`(B, T, I)` to `(B, T, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, bidirectional: bool = False) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        check.check_flag("bidirectional", bidirectional)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.rnn = nn.RNN(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(self.head_width(), output_size)

    def head_width(self) -> int:
        """The features of the RNN's output: D*H."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict at every step."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=1)
        prediction: Tensor = self.head(self.rnn(x)[0])
        return prediction


@correct("a time-first GRU with a linear head on every step")
class TimeFirstGRU(nn.Module):
    """`(T, B, I)` to `(T, B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size = input_size
        self.gru = nn.GRU(input_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)

    def prepare(self, x: Tensor) -> Tensor:
        """What the GRU is fed: `(T, B, I)`."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Predict at every step."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=0)
        prediction: Tensor = self.head(self.gru(self.prepare(x))[0])
        return prediction


@correct("a time-first GRU with a linear head on the last step")
class TimeFirstLast(nn.Module):
    """`(T, B, I)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size = input_size
        self.gru = nn.GRU(input_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)

    def initial_state(self, x: Tensor) -> Tensor:
        """Zeros `(1, B, H)`, of the input's dtype and on its device."""
        return x.new_zeros(1, x.size(1), self.gru.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=0)
        prediction: Tensor = self.head(self.gru(x, self.initial_state(x))[0][-1])
        return prediction


@correct("a classifier: stacked GRU layers, dropout in training, and scores for each class")
class SequenceClassifier(nn.Module):
    """`(B, T, I)` to `(B, num_classes)`."""

    def __init__(
        self, input_size: int, hidden_size: int, num_classes: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check.check_sizes(
            input_size=input_size, hidden_size=hidden_size, num_classes=num_classes, num_layers=num_layers
        )
        check.check_probability("dropout", dropout)
        self.input_size = input_size
        # nn.GRU warns about dropout with nothing above to drop.
        self.gru = nn.GRU(
            input_size, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(float(dropout))
        self.head = nn.Linear(hidden_size, num_classes)

    def drop(self, h: Tensor) -> Tensor:
        """Dropout before the head, in training mode."""
        dropped: Tensor = self.dropout(h)
        return dropped

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes from the top layer's final state."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=1)
        scores: Tensor = self.head(self.drop(self.gru(x)[1][-1]))
        return scores


@correct("an encoder that joins the final states of both directions")
class BidirectionalEncoder(nn.Module):
    """`(B, T, I)` to `(B, 2*H)`."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.input_size = input_size
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Join the top layer's final forward and backward states."""
        check.check_sequence(x, self.input_size, next(self.parameters()), length_dim=1)
        h_n = self.lstm(x)[1][0]
        return torch.cat((h_n[-2], h_n[-1]), -1)


@correct("a forecaster: an LSTM whose states a small network reads together with the mean of the inputs so far")
class RunningMeanForecaster(nn.Module):
    """`(B, T, I)` to `(B, T, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size = input_size
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(hidden_size + input_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, output_size)
        )

    def running_mean(self, x: Tensor) -> Tensor:
        """The mean of the inputs up to each step: `(B, T, I)`."""
        count = torch.arange(1, x.size(1) + 1, dtype=x.dtype, device=x.device)
        return x.cumsum(1) / count.unsqueeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict at every step from what was seen up to it."""
        check.check_sequence(x, self.input_size, next(self.parameters()), length_dim=1)
        prediction: Tensor = self.head(torch.cat((self.lstm(x)[0], self.running_mean(x)), -1))
        return prediction
