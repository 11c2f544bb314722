"""Correct modules that compute in another way what a slow reference computes, and the contracts that name it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props.contracts import Capabilities, Contract, booleans, integers
from rnn_props.zoo import validation as check
from rnn_props.zoo.registry import correct

_SIZES: dict[str, Any] = {"input_size": integers(1, 7), "hidden_size": integers(1, 7)}
_ROLES = {name: name for name in _SIZES}


class OneLayer(nn.Module):
    """What the layers of this file share: `(T, B, I)` and a state `(1, B, H)` to `(T, B, H)` and the final state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.make_parameters()

    def make_parameters(self) -> None:
        """Register every parameter."""
        raise NotImplementedError

    def run(self, x: Tensor, h: Tensor) -> Tensor:
        """Every state of `(T, B, I)` from `(B, H)`: `(T, B, H)`."""
        raise NotImplementedError

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Every state, and the last one."""
        weight = next(self.parameters())
        check.check_sequence(x, self.input_size, weight, length_dim=0)
        if hx is None:
            hx = x.new_zeros(1, x.size(1), self.hidden_size)
        check.check_shape("hx", check.check_tensor("hx", hx), (1, x.size(1), self.hidden_size))
        check.check_like("hx", hx, weight)
        states = self.run(x, hx[0])
        return states, states[-1:].clone()


@correct("a minimal GRU, one step after the other: gate and candidate see the input alone")
class MinGRULoop(OneLayer):
    def make_parameters(self) -> None:
        self.to_gate = nn.Linear(self.input_size, self.hidden_size)
        self.to_candidate = nn.Linear(self.input_size, self.hidden_size)

    def run(self, x: Tensor, h: Tensor) -> Tensor:
        states = []
        for step in x.unbind(0):
            gate = torch.sigmoid(self.to_gate(step))
            h = (1 - gate) * h + gate * torch.tanh(self.to_candidate(step))
            states.append(h)
        return torch.stack(states)


def split_gates(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loop's parameters, out of the scan's single projection."""
    split: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        gate, candidate = weights[f"project.{kind}"].chunk(2)
        split |= {f"to_gate.{kind}": gate, f"to_candidate.{kind}": candidate}
    return split


def like_the_loop(build: type[nn.Module]) -> Contract:
    """The contract of a minimal GRU in parallel: what the loop gives."""
    return Contract(
        build=build,
        hyperparameters=_SIZES,
        roles=_ROLES,
        output="T B H",
        state="1 B H",
        capabilities=Capabilities(output_is_state=True, empty_batch=True),
        reference=MinGRULoop,
        reference_weights=split_gates,
    )


@correct("a minimal GRU with one projection for all steps and a scan that doubles its reach", contract=like_the_loop)
class MinGRUScan(OneLayer):
    def make_parameters(self) -> None:
        self.project = nn.Linear(self.input_size, 2 * self.hidden_size)

    def run(self, x: Tensor, h: Tensor) -> Tensor:
        gate, candidate = self.split(self.project(x))
        gate = self.squash_gate(gate)
        keep, add = 1 - gate, gate * self.squash_candidate(candidate)
        reach = 1
        while reach < len(x):
            add = torch.cat((add[:reach], keep[reach:] * add[:-reach] + add[reach:]))
            keep = torch.cat((keep[:reach], keep[reach:] * keep[:-reach]))
            reach *= 2
        return keep * h + add

    def split(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Gate and candidate, before their nonlinearities."""
        gate, candidate = projected.chunk(2, -1)
        return gate, candidate

    def squash_gate(self, gate: Tensor) -> Tensor:
        """The gate, between 0 and 1."""
        return torch.sigmoid(gate)

    def squash_candidate(self, candidate: Tensor) -> Tensor:
        """The candidate, between -1 and 1."""
        return torch.tanh(candidate)


def gru_by_formula(module: FusedGRULayer, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The GRU's equations, gate by gate, with the fused layer's weights."""
    of_input, of_state, bias = module.of_input.chunk(3), module.of_state.chunk(3), module.bias.chunk(3)
    h = x.new_zeros(x.size(1), module.hidden_size) if hx is None else hx[0]
    states = []
    for step in x:
        reset = torch.sigmoid(step @ of_input[0].T + h @ of_state[0].T + bias[0])
        update = torch.sigmoid(step @ of_input[1].T + h @ of_state[1].T + bias[1])
        new = torch.tanh(step @ of_input[2].T + reset * (h @ of_state[2].T) + bias[2])
        h = (1 - update) * new + update * h
        states.append(h)
    return torch.stack(states), h.unsqueeze(0)


def like_the_formula(build: type[nn.Module]) -> Contract:
    """The contract of a GRU with fused weights: what the function gives that reads them."""
    return Contract(
        build=build,
        hyperparameters=_SIZES,
        roles=_ROLES,
        output="T B H",
        state="1 B H",
        capabilities=Capabilities(output_is_state=True, empty_batch=True),
        reference=gru_by_formula,
    )


@correct("a GRU that projects all steps of the input at once, with one bias a gate", contract=like_the_formula)
class FusedGRULayer(OneLayer):
    def make_parameters(self) -> None:
        rows = 3 * self.hidden_size
        self.of_input = nn.Parameter(torch.randn(rows, self.input_size) * self.input_size**-0.5)
        self.of_state = nn.Parameter(torch.randn(rows, self.hidden_size) * self.hidden_size**-0.5)
        self.bias = nn.Parameter(torch.randn(rows) * 0.5)

    def run(self, x: Tensor, h: Tensor) -> Tensor:
        states = []
        for projected in F.linear(x, self.of_input, self.gate_biases()).unbind(0):
            h = self.advance(projected, F.linear(h, self.of_state), h)
            states.append(h)
        return torch.stack(states)

    def gate_biases(self) -> Tensor:
        """The biases of reset, update and candidate: `(3*H,)`."""
        return self.bias

    def advance(self, of_input: Tensor, of_state: Tensor, h: Tensor) -> Tensor:
        """One step from both projections `(B, 3*H)`."""
        size = 2 * self.hidden_size
        reset, update = torch.sigmoid(of_input[:, :size] + of_state[:, :size]).chunk(2, -1)
        new = torch.tanh(of_input[:, size:] + reset * of_state[:, size:])
        return torch.lerp(new, h, update)


def like_torchs_cell(build: type[nn.Module]) -> Contract:
    """The contract of a cell with torch.nn.GRUCell's parameters under shorter names."""
    return Contract(
        build=build,
        hyperparameters={**_SIZES, "bias": booleans(simplest=True)},
        roles={**_ROLES, "bias": "bias"},
        convention="cell",
        input="B I",
        output=None,
        state="B H",
        capabilities=Capabilities(empty_batch=True),
        reference=nn.GRUCell,
        reference_weights={"weight_ih": "w_x", "weight_hh": "w_h", "bias_ih": "b_x", "bias_hh": "b_h"},
    )


@correct("torch.nn.GRUCell with shorter names", contract=like_torchs_cell)
class CompactGRUCell(nn.Module):
    """`(B, I)` and `(B, H)` to `(B, H)`."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size)
        check.check_flag("bias", bias)
        rows = 3 * hidden_size
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w_x = nn.Parameter(torch.randn(rows, input_size) * input_size**-0.5)
        self.w_h = nn.Parameter(torch.randn(rows, hidden_size) * hidden_size**-0.5)
        self.b_x = nn.Parameter(torch.randn(rows) * 0.5) if bias else None
        self.b_h = nn.Parameter(torch.randn(rows) * 0.5) if bias else None

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Take one step; return the new h."""
        check.check_rank("input", check.check_tensor("input", x), (2,))
        check.check_features("input", x, self.input_size)
        check.check_like("input", x, self.w_x)
        if h is None:
            h = x.new_zeros(x.size(0), self.hidden_size)
        check.check_shape("h", check.check_tensor("h", h), (x.size(0), self.hidden_size))
        check.check_like("h", h, self.w_x)
        of_input, of_state = F.linear(x, self.w_x, self.b_x).chunk(3, -1), F.linear(h, self.w_h, self.b_h).chunk(3, -1)
        reset, update = torch.sigmoid(of_input[0] + of_state[0]), torch.sigmoid(of_input[1] + of_state[1])
        return self.mix(update, torch.tanh(of_input[2] + reset * of_state[2]), h)

    def mix(self, update: Tensor, new: Tensor, h: Tensor) -> Tensor:
        """The new state of the candidate and the old state."""
        return new + update * (h - new)
