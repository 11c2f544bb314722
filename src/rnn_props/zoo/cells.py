"""Correct cells in plain tensor operations that stand in for torch.nn.RNNCell, GRUCell and LSTMCell.

They reject what torch's cells let through: empty sizes, an unknown nonlinearity at construction, states of other ranks.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnn_props.zoo import validation as check
from rnn_props.zoo.drop_ins import gru_step, lstm_step, rnn_step
from rnn_props.zoo.recurrent import Leaves, Weights
from rnn_props.zoo.registry import correct


class PlainCell(nn.Module):
    """What the plain cells share: one step from `(B, I)` or `(I,)` and a state to the next state."""

    gates: ClassVar[int] = 1
    leaf_names: ClassVar[tuple[str, ...]] = ("hx",)
    weight_ih: Tensor
    weight_hh: Tensor

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.check_arguments()
        self.make_parameters(device, torch.get_default_dtype() if dtype is None else dtype)
        self.reset_parameters()

    def check_arguments(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is not one that the cell can have."""
        check.check_sizes(input_size=self.input_size, hidden_size=self.hidden_size)
        check.check_flag("bias", self.bias)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, in torch's order."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.input_size),
            "weight_hh": (rows, self.hidden_size),
        }
        return shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {})

    def make_parameters(self, device: Any, dtype: torch.dtype) -> None:
        """Register every parameter, not yet initialised."""
        check.check_floating_dtype(dtype)
        for name, shape in self.parameter_shapes().items():
            self.register_parameter(name, self.make_parameter(name, shape, device, dtype))

    def make_parameter(self, name: str, shape: tuple[int, ...], device: Any, dtype: torch.dtype) -> nn.Parameter:
        """One parameter, not yet initialised."""
        return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-k, k) with k = 1 / sqrt(hidden_size), as torch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes, for `repr`."""
        return f"{self.input_size}, {self.hidden_size}"

    def run(self, input: Any, hx: Any) -> Any:
        """Check the arguments and take one step."""
        self.check_input(input)
        if hx is not None:
            self.check_state(hx, input)
        x = input.unsqueeze(0) if input.dim() == 1 else input
        state = self.initial_state(x) if hx is None else self.read_state(hx)
        return self.finish_state(self.cell(x, state, self.weights()), input.dim() == 2)

    def check_input(self, input: Any) -> None:
        """Raise unless the input is `(B, I)` or `(I,)`, of the weights' dtype and device."""
        tensor = check.check_tensor("input", input)
        check.check_rank("input", tensor, (1, 2))
        self.check_features(tensor)
        check.check_like("input", tensor, self.weights().ih)

    def check_features(self, input: Tensor) -> None:
        """Raise unless the last dimension is input_size."""
        check.check_features("input", input, self.input_size)

    def split_state(self, hx: Any) -> Leaves:
        """The leaves of a state as the caller passed it; raise if the structure is wrong."""
        return (check.check_tensor("hx", hx),)

    def check_state(self, hx: Any, input: Tensor) -> None:
        """Raise unless every leaf is `(B, H)`, or `(H,)` with an unbatched input, of the weights' dtype and device."""
        for name, leaf in zip(self.leaf_names, self.split_state(hx), strict=True):
            check.check_shape(name, leaf, (*input.shape[:-1], self.hidden_size))
            check.check_like(name, leaf, self.weights().ih)

    def read_state(self, hx: Any) -> Leaves:
        """The caller's state as leaves `(B, H)`."""
        return tuple(leaf.unsqueeze(0) if leaf.dim() == 1 else leaf for leaf in self.split_state(hx))

    def initial_state(self, x: Tensor) -> Leaves:
        """The state of a call without one: zeros `(B, H)`."""
        return tuple(x.new_zeros(x.size(0), self.hidden_size) for _ in self.leaf_names)

    def weights(self) -> Weights:
        """The parameters, as they are now."""
        return Weights(
            ih=self.weight_ih,
            hh=self.weight_hh,
            bias_ih=getattr(self, "bias_ih", None),
            bias_hh=getattr(self, "bias_hh", None),
            hr=None,
        )

    def finish_state(self, state: Leaves, batched: bool) -> Any:
        """The new state in the structure and rank that the caller gets."""
        return self.join_state(state if batched else tuple(leaf.squeeze(0) for leaf in state))

    def join_state(self, state: Leaves) -> Any:
        """The leaves in the structure that the caller gets."""
        return state[0]

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, I)` and leaves `(B, H)` to new leaves."""
        raise NotImplementedError


@correct("torch.nn.RNNCell in plain tensor operations")
class PlainRNNCell(PlainCell):
    """One step of the Elman network: `(B, I)` and `(B, H)` to `(B, H)`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def check_arguments(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is not one that the cell can have."""
        super().check_arguments()
        self.check_nonlinearity()

    def check_nonlinearity(self) -> None:
        """Raise unless the nonlinearity is "tanh" or "relu"."""
        check.check_nonlinearity(self.nonlinearity)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Take one step; return the new h."""
        state: Tensor = self.run(input, hx)
        return state

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, I)` and `(B, H)` to `(B, H)`."""
        return (rnn_step(x, state[0], weights, self.nonlinearity),)


@correct("torch.nn.GRUCell in plain tensor operations")
class PlainGRUCell(PlainCell):
    """One step of the gated recurrent unit: `(B, I)` and `(B, H)` to `(B, H)`."""

    gates: ClassVar[int] = 3

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Take one step; return the new h."""
        state: Tensor = self.run(input, hx)
        return state

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, I)` and `(B, H)` to `(B, H)`."""
        return (gru_step(x, state[0], weights),)


@correct("torch.nn.LSTMCell in plain tensor operations")
class PlainLSTMCell(PlainCell):
    """One step of the LSTM: `(B, I)` and a pair of `(B, H)` to a pair of `(B, H)`."""

    gates: ClassVar[int] = 4
    leaf_names: ClassVar[tuple[str, ...]] = ("hx[0]", "hx[1]")

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Take one step; return the new (h, c)."""
        state: tuple[Tensor, Tensor] = self.run(input, hx)
        return state

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
        """One step: `(B, I)` and two of `(B, H)` to two of `(B, H)`."""
        return lstm_step(x, state[0], state[1], weights)
