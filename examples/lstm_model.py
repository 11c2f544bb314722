"""A state of zeros that forgets the module's dtype.

`LSTMModel` builds its own initial state and predicts from the last step. It works as long as everything is float32:
the zeros are made without a dtype, so after `.double()` the LSTM gets a float64 input and a float32 state, and fails.
`LSTMModelFixed` takes dtype and device from the input, and rejects what it cannot run.

    rnn-props check examples/lstm_model.py:LSTMModel
    rnn-props check examples/lstm_model.py:LSTMModelFixed
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTMModel(nn.Module):
    """`(B, T, I)` to `(B, O)`; float32 only."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        h0 = torch.zeros(1, x.size(0), self.lstm.hidden_size, device=x.device)
        c0 = torch.zeros(1, x.size(0), self.lstm.hidden_size, device=x.device)
        output, _ = self.lstm(x, (h0, c0))
        prediction: Tensor = self.fc(output[:, -1])
        return prediction


class LSTMModelFixed(nn.Module):
    """`(B, T, I)` to `(B, O)`, in any dtype.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, or the input is not three-dimensional.
        RuntimeError: if the input has no steps or other features than `input_size`.
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "output_size": output_size}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be greater than zero, got {size}")
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        if x.dim() != 3:
            raise ValueError(f"expected an input (B, T, I) of 3 dimensions, got {x.dim()}")
        zeros = x.new_zeros(1, x.size(0), self.lstm.hidden_size)
        output, _ = self.lstm(x, (zeros, zeros))
        prediction: Tensor = self.fc(output[:, -1])
        return prediction
