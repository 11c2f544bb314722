"""A loop over one cell, where checks that a layer makes are the model's own to make.

`LSTMCellModel` steps an `nn.LSTMCell` through time. Its zeros are always float32, so it fails in any other dtype; an
empty sequence fails by accident, and sizes of zero pass, since the cell takes them. `LSTMCellModelFixed` makes its
state like its input and checks for itself.

    rnn-props check examples/cell_loop.py:LSTMCellModel
    rnn-props check examples/cell_loop.py:LSTMCellModelFixed
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTMCellModel(nn.Module):
    """`(B, T, I)` to `(B, O)`; float32 only."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        h = torch.zeros(x.size(0), self.lstm_cell.hidden_size, device=x.device)
        c = torch.zeros(x.size(0), self.lstm_cell.hidden_size, device=x.device)
        outputs = []
        for t in range(x.size(1)):
            h, c = self.lstm_cell(x[:, t], (h, c))
            outputs.append(h)
        prediction: Tensor = self.fc(torch.stack(outputs, dim=1)[:, -1])
        return prediction


class LSTMCellModelFixed(nn.Module):
    """`(B, T, I)` to `(B, O)`, in any dtype.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, or the input is not three-dimensional or has no steps.
        RuntimeError: if the input has other features than `input_size`, or another dtype than the weights.
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "output_size": output_size}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be greater than zero, got {size}")
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the last step."""
        if x.dim() != 3 or x.size(1) < 1:
            raise ValueError(f"expected an input (B, T, I) with T > 0, got shape {tuple(x.shape)}")
        h = c = x.new_zeros(x.size(0), self.lstm_cell.hidden_size)
        for step in x.unbind(1):
            h, c = self.lstm_cell(step, (h, c))
        prediction: Tensor = self.fc(h)
        return prediction
