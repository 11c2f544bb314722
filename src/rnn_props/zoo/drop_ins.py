"""Correct layers in plain tensor operations that stand in for torch.nn.RNN, GRU and LSTM.

They take the same arguments, have the same parameters, give the same results, and reject at least what torch rejects.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from rnn_props.zoo import validation as check
from rnn_props.zoo.recurrent import Leaves, PlainRecurrent, Weights
from rnn_props.zoo.registry import correct


def rnn_step(x: Tensor, h: Tensor, w: Weights, nonlinearity: str) -> Tensor:
    """One step of the Elman network: `(B, F)` and `(B, H)` to `(B, H)`."""
    total = F.linear(x, w.ih, w.bias_ih) + F.linear(h, w.hh, w.bias_hh)
    return torch.relu(total) if nonlinearity == "relu" else torch.tanh(total)


def gru_step(x: Tensor, h: Tensor, w: Weights) -> Tensor:
    """One step of the GRU, gates in torch's order r, z, n: `(B, F)` and `(B, H)` to `(B, H)`."""
    reset_x, update_x, new_x = F.linear(x, w.ih, w.bias_ih).chunk(3, -1)
    reset_h, update_h, new_h = F.linear(h, w.hh, w.bias_hh).chunk(3, -1)
    update = torch.sigmoid(update_x + update_h)
    new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
    return (1 - update) * new + update * h


def lstm_step(x: Tensor, h: Tensor, c: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """One step of the LSTM, gates in torch's order i, f, g, o: `(B, F)`, `(B, P)`, `(B, H)` to `(B, P)`, `(B, H)`."""
    gates = F.linear(x, w.ih, w.bias_ih) + F.linear(h, w.hh, w.bias_hh)
    enter, forget, new, leave = gates.chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
    h = torch.sigmoid(leave) * torch.tanh(c)
    return (h if w.hr is None else F.linear(h, w.hr)), c


@correct("torch.nn.RNN in plain tensor operations")
class PlainRNN(PlainRecurrent):
    """Elman network: `(T, B, I)` to `(T, B, D*H)`, with the state `(L*D, B, H)`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def check_arguments(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is not one that the layer can have."""
        super().check_arguments()
        self.check_nonlinearity()

    def check_nonlinearity(self) -> None:
        """Raise unless the nonlinearity is "tanh" or "relu"."""
        check.check_nonlinearity(self.nonlinearity)

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the layers; return the top layer's output at every step and the final state of every layer."""
        output, state = self.run(input, hx)
        return output, state

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, F)` and `(B, H)` to `(B, H)`."""
        return (rnn_step(x, state[0], weights, self.nonlinearity),)


@correct("torch.nn.GRU in plain tensor operations")
class PlainGRU(PlainRecurrent):
    """Gated recurrent unit: `(T, B, I)` to `(T, B, D*H)`, with the state `(L*D, B, H)`."""

    gates: ClassVar[int] = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the layers; return the top layer's output at every step and the final state of every layer."""
        output, state = self.run(input, hx)
        return output, state

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, F)` and `(B, H)` to `(B, H)`."""
        return (gru_step(x, state[0], weights),)


@correct("torch.nn.LSTM in plain tensor operations")
class PlainLSTM(PlainRecurrent):
    """LSTM: `(T, B, I)` to `(T, B, D*P)`, with the state `((L*D, B, P), (L*D, B, H))`."""

    gates: ClassVar[int] = 4
    leaf_names: ClassVar[tuple[str, ...]] = ("hx[0]", "hx[1]")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Run the layers; return the top layer's output at every step and the final (h, c) of every layer."""
        output, state = self.run(input, hx)
        return output, state

    def split_state(self, hx: Any) -> Leaves:
        """The leaves (h, c) of a state as the caller passed it."""
        if not isinstance(hx, (tuple, list)):
            raise TypeError(f"hx should be a tuple of 2 tensors (h, c), got: {type(hx).__name__}")
        if len(hx) != 2:
            raise ValueError(f"hx should be a tuple of 2 tensors (h, c), got {len(hx)} members")
        return check.check_tensor("hx[0]", hx[0]), check.check_tensor("hx[1]", hx[1])

    def join_state(self, state: Leaves) -> Any:
        """The pair (h, c)."""
        return state

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, F)`, `(B, P)` and `(B, H)` to `(B, P)` and `(B, H)`."""
        return lstm_step(x, state[0], state[1], weights)
