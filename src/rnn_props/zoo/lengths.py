"""Correct modules that take each row's length beside a padded batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.zoo import validation as check
from rnn_props.zoo.registry import correct


def check_lengths(lengths: Tensor, batch: int, steps: int, *, least: int) -> None:
    """Raise unless there is an integer length for each row, from `least` to the number of steps."""
    check.check_tensor("lengths", lengths)
    if lengths.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"lengths should be integers, got: {lengths.dtype}")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"Expected lengths of shape ({batch},), one for each row, got {tuple(lengths.shape)}")
    low, high = (int(lengths.min()), int(lengths.max())) if batch else (least, steps)
    if low < least or high > steps:
        raise ValueError(f"Expected lengths from {least} to {steps}, got {low} to {high}")


@correct("a GRU that takes a padded batch with its lengths, empty rows included")
class PaddedGRU(nn.Module):
    """`(T, B, I)` and `(1, B, H)` to `(T, B, H)` and `(1, B, H)`; with lengths each row ends where it ends."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cell = nn.GRUCell(input_size, hidden_size)

    def forward(self, input: Tensor, hx: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the layer over each row's own steps; the output is zero beyond them."""
        check.check_sequence(input, self.input_size, self.cell.weight_ih, length_dim=0)
        steps, batch = input.shape[:2]
        if lengths is None:
            lengths = torch.full((batch,), steps, device=input.device)
        self.check_lengths(lengths, batch, steps)
        if hx is None:
            hx = input.new_zeros(1, batch, self.hidden_size)
        check.check_tensor("hx", hx)
        check.check_shape("hx", hx, (1, batch, self.hidden_size))
        check.check_like("hx", hx, self.cell.weight_ih)
        return self.run(input, hx, lengths)

    def check_lengths(self, lengths: Tensor, batch: int, steps: int) -> None:
        """Raise unless every length is one that a row can have."""
        check_lengths(lengths, batch, steps, least=0)

    def run(self, input: Tensor, hx: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """One step after the other; rows that have ended keep their state."""
        h = hx[0]
        outputs = []
        for step, x in enumerate(input):
            running = (lengths > step)[:, None]
            h = self.advance(x, h, running)
            outputs.append(self.mask(h, running))
        return torch.stack(outputs), self.final(h, outputs, lengths).unsqueeze(0)

    def advance(self, x: Tensor, h: Tensor, running: Tensor) -> Tensor:
        """The state after one step: `(B, I)`, `(B, H)` and `(B, 1)` to `(B, H)`."""
        new: Tensor = self.cell(torch.where(running, x, torch.zeros_like(x)), h)
        return torch.where(running, new, h)

    def mask(self, h: Tensor, running: Tensor) -> Tensor:
        """The output of a step: zero where a row has ended."""
        return torch.where(running, h, torch.zeros_like(h))

    def final(self, h: Tensor, outputs: list[Tensor], lengths: Tensor) -> Tensor:
        """Each row's state at its own end: `(B, H)`."""
        return h


@correct("a sentence encoder: a packed bidirectional LSTM, both directions' ends, and a linear head")
class SentenceEncoder(nn.Module):
    """`(B, T, I)` and lengths `(B,)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, bidirectional: bool = False) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        check.check_flag("bidirectional", bidirectional)
        self.input_size = input_size
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(hidden_size * (2 if bidirectional else 1), output_size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Predict from each row's own ends."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=1)
        self.check_lengths(lengths, x.shape[0], x.shape[1])
        if x.shape[0] == 0:
            return x.new_zeros(0, self.head.out_features)
        prediction: Tensor = self.head(self.encode(x, lengths))
        return prediction

    def check_lengths(self, lengths: Tensor, batch: int, steps: int) -> None:
        """Raise unless every length is one that a row can have."""
        check_lengths(lengths, batch, steps, least=1)

    def pack(self, x: Tensor, lengths: Tensor) -> Any:
        """The rows without their padding."""
        return nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The last state of each direction, side by side: `(B, D*H)`."""
        _, (h, _) = self.lstm(self.pack(x, lengths))
        return torch.cat(list(h), -1)


@correct("a tagger that takes lengths: a bidirectional GRU over packed rows, scores at every step, zero in the padding")
class LengthsTagger(nn.Module):
    """`(B, T, I)` and lengths `(B,)` to `(B, T, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        self.input_size = input_size
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden_size, output_size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Predict at every step of every row."""
        check.check_sequence(x, self.input_size, self.head.weight, length_dim=1)
        check_lengths(lengths, x.shape[0], x.shape[1], least=1)
        if x.shape[0] == 0:
            return x.new_zeros(0, x.shape[1], self.head.out_features)
        return self.finish(self.head(self.encode(x, lengths)), lengths)

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Both directions at every step: `(B, T, 2*H)`."""
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])
        return output

    def finish(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """The scores with zeros in the padding."""
        beyond = torch.arange(scores.shape[1], device=scores.device) >= lengths[:, None]
        return scores.masked_fill(beyond[..., None], 0.0)
