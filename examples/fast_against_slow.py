"""A fast layer held to a slow one that is known to be right.

`SlowMinGRU` is a minimal GRU as its equations read: one step after the other. `FastMinGRU` gives the same in a handful
of tensor operations: one projection for gate and candidate of all steps, then a scan that doubles its reach in each
round. `contract` names the slow one as the reference, and a function that brings the fast one's weights into its form;
RPA02 then compares outputs, states and gradients.

`ExchangedMinGRU` splits the projection in the wrong order. It is a recurrent module without a fault, but not this one:
no other check can see that.

    rnn-props check examples/fast_against_slow.py:contract
    rnn-props check examples/fast_against_slow.py:exchanged
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from rnn_props import Capabilities, Contract
from rnn_props.contracts import integers


class MinGRU(nn.Module):
    """`(B, T, I)` and a state `(B, H)` to `(B, T, H)` and the last state.

    Raises:
        TypeError: if a size is not an integer, or an argument of a call is no tensor.
        ValueError: if a size is not positive, or the input is not three-dimensional or has no steps.
        RuntimeError: if an argument of a call has the wrong size or dtype.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, size in {"input_size": input_size, "hidden_size": hidden_size}.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be greater than zero, got {size}")
        self.hidden_size = hidden_size

    def states(self, x: Tensor, h: Tensor) -> Tensor:
        """The state after each step: `(B, T, H)`."""
        raise NotImplementedError

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Every state, and the last one."""
        if not isinstance(x, Tensor) or not isinstance(h, Tensor | None):
            raise TypeError("input and state should be tensors")
        if x.dim() != 3 or x.size(1) < 1:
            raise ValueError(f"expected an input (B, T, I) with T > 0, got shape {tuple(x.shape)}")
        if h is None:
            h = x.new_zeros(x.size(0), self.hidden_size)
        expected = (x.size(0), self.hidden_size)
        if h.shape != expected or h.dtype != x.dtype:
            raise RuntimeError(
                f"expected a state of shape {expected} and {x.dtype}, got shape {tuple(h.shape)} and {h.dtype}"
            )
        states = self.states(x, h)
        return states, states[:, -1].clone()


class SlowMinGRU(MinGRU):
    """The equations, step by step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def states(self, x: Tensor, h: Tensor) -> Tensor:
        """The state after each step: `(B, T, H)`."""
        states = []
        for step in x.unbind(1):
            z = torch.sigmoid(self.gate(step))
            h = (1 - z) * h + z * torch.tanh(self.candidate(step))
            states.append(h)
        return torch.stack(states, 1)


class FastMinGRU(MinGRU):
    """All steps at once. Each step is h -> a*h + b; two of them in a row are one more of that form."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.fused = nn.Linear(input_size, 2 * hidden_size)

    def split(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Gate and candidate, before their nonlinearities."""
        gate, candidate = fused.chunk(2, -1)
        return gate, candidate

    def states(self, x: Tensor, h: Tensor) -> Tensor:
        """The state after each step: `(B, T, H)`."""
        gate, candidate = self.split(self.fused(x))
        z = torch.sigmoid(gate)
        a, b = 1 - z, z * torch.tanh(candidate)
        reach = 1
        while reach < x.size(1):
            b = torch.cat((b[:, :reach], a[:, reach:] * b[:, :-reach] + b[:, reach:]), 1)
            a = torch.cat((a[:, :reach], a[:, reach:] * a[:, :-reach]), 1)
            reach *= 2
        return a * h.unsqueeze(1) + b


class ExchangedMinGRU(FastMinGRU):
    """Takes the first half of the fused projection for the candidate."""

    def split(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Gate and candidate, before their nonlinearities."""
        candidate, gate = fused.chunk(2, -1)
        return gate, candidate


def weights_of_slow(fast: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The slow layer's parameters, out of the fast one's."""
    slow = {}
    for kind in ("weight", "bias"):
        slow[f"gate.{kind}"], slow[f"candidate.{kind}"] = fast[f"fused.{kind}"].chunk(2)
    return slow


contract = Contract(
    build=FastMinGRU,
    hyperparameters={"input_size": integers(1, 7), "hidden_size": integers(1, 7)},
    roles={"input_size": "input_size", "hidden_size": "hidden_size"},
    convention="rnn",
    input="B T I",
    output="B T H",
    state="B H",
    capabilities=Capabilities(output_is_state=True, empty_batch=True),
    reference=SlowMinGRU,
    reference_weights=weights_of_slow,
)
exchanged = replace(contract, build=ExchangedMinGRU)
