"""One row of state for each layer, in the wrong dtype and in the right one.

`MultiLayerLSTM` makes its zeros `(L, B, H)`, as many rows as there are layers, which is right, but always in the
default dtype, which fails in a model that was moved to another one. `MultiLayerLSTMFixed` follows its input.

    rnn-props check examples/multi_layer_lstm.py:MultiLayerLSTM
    rnn-props check examples/multi_layer_lstm.py:MultiLayerLSTMFixed
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MultiLayerLSTM(nn.Module):
    """`(B, T, I)` to `(B, O)`; float32 only."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, output_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers=num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the top layer's last step."""
        rows, width = self.lstm.num_layers, self.lstm.hidden_size
        h0 = torch.zeros(rows, x.size(0), width, device=x.device)
        c0 = torch.zeros(rows, x.size(0), width, device=x.device)
        output, _ = self.lstm(x, (h0, c0))
        prediction: Tensor = self.fc(output[:, -1])
        return prediction


class MultiLayerLSTMFixed(nn.Module):
    """`(B, T, I)` to `(B, O)`, in any dtype.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, or the input is not three-dimensional.
        RuntimeError: if the input has no steps or other features than `input_size`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, output_size: int) -> None:
        super().__init__()
        sizes = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "output_size": output_size,
        }
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be greater than zero, got {size}")
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers=num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the top layer's last step."""
        if x.dim() != 3:
            raise ValueError(f"expected an input (B, T, I) of 3 dimensions, got {x.dim()}")
        zeros = x.new_zeros(self.lstm.num_layers, x.size(0), self.lstm.hidden_size)
        output, _ = self.lstm(x, (zeros, zeros))
        prediction: Tensor = self.fc(output[:, -1])
        return prediction
