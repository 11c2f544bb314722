"""The frame of the drop-in recurrent layers: arguments, layouts, layers and directions, everything but the cell.

Each step of the computation is one short method, so that a buggy module of the zoo overrides exactly the step that it
gets wrong.

Inside, a sequence is a list of T tensors `(B_t, F)`, where B_t is the number of rows that are still running at step t
(always B but for packed sequences), and a state is a tuple of leaves: `(h,)`, or `(h, c)` for the LSTM.
"""

from __future__ import annotations

import math
import warnings
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from rnn_props.zoo import validation as check

Leaves = tuple[Tensor, ...]
Steps = list[Tensor]


class Weights(NamedTuple):
    """The parameters of one layer in one direction, as shapes: `(G, F)`, `(G, P)`, `(G,)`, `(G,)` and `(P, H)`."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    hr: Tensor | None


def ragged(steps: Steps) -> bool:
    """Whether rows end at different steps, as those of packed sequences do."""
    return any(step.size(0) != steps[0].size(0) for step in steps)


def _split(tensor: Tensor, sizes: list[int]) -> Steps:
    ends = list(accumulate(sizes))
    return [tensor[end - size : end] for size, end in zip(sizes, ends, strict=True)]


class PlainRecurrent(nn.Module):
    """What the plain RNN, GRU and LSTM share; arguments, parameters and results are those of torch's layers."""

    gates: ClassVar[int] = 1
    leaf_names: ClassVar[tuple[str, ...]] = ("hx",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.check_arguments()
        self.make_parameters(device, torch.get_default_dtype() if dtype is None else dtype)
        self.reset_parameters()

    # Construction

    def check_arguments(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is not one that the layer can have."""
        check.check_sizes(input_size=self.input_size, hidden_size=self.hidden_size, num_layers=self.num_layers)
        check.check_flag("bias", self.bias)
        check.check_flag("batch_first", self.batch_first)
        check.check_flag("bidirectional", self.bidirectional)
        self.check_dropout()
        self.check_projection()

    def check_dropout(self) -> None:
        """Raise unless dropout is a probability; warn where it has no effect, as torch does."""
        check.check_probability("dropout", self.dropout)
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                f"dropout acts between layers, so dropout={self.dropout} with num_layers=1 has no effect", stacklevel=5
            )

    def check_projection(self) -> None:
        """Raise unless `0 <= proj_size < hidden_size`."""
        check.check_size("proj_size", self.proj_size, least=0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"proj_size has to be smaller than hidden_size {self.hidden_size}, got {self.proj_size}")

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_width(self) -> int:
        """P: the width of h and of one direction's output."""
        return self.proj_size or self.hidden_size

    def leaf_widths(self) -> tuple[int, ...]:
        """The last size of each leaf of the state."""
        return (self.output_width, self.hidden_size)[: len(self.leaf_names)]

    def suffix(self, layer: int, direction: int) -> str:
        """The end of the parameters' names, such as `_l0` or `_l1_reverse`."""
        return f"_l{layer}" + ("_reverse" if direction else "")

    def parameter_shapes(self, layer: int, direction: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters of one layer in one direction, in torch's order."""
        end = self.suffix(layer, direction)
        rows = self.gates * self.hidden_size
        features = self.input_size if layer == 0 else self.output_width * self.num_directions
        shapes: dict[str, tuple[int, ...]] = {
            f"weight_ih{end}": (rows, features),
            f"weight_hh{end}": (rows, self.output_width),
        }
        if self.bias:
            shapes |= {f"bias_ih{end}": (rows,), f"bias_hh{end}": (rows,)}
        if self.proj_size:
            shapes[f"weight_hr{end}"] = (self.proj_size, self.hidden_size)
        return shapes

    def make_parameters(self, device: Any, dtype: torch.dtype) -> None:
        """Register every parameter, not yet initialised."""
        check.check_floating_dtype(dtype)
        for layer in range(self.num_layers):
            for direction in range(self.num_directions):
                for name, shape in self.parameter_shapes(layer, direction).items():
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
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"

    # One call

    def run(self, input: Any, hx: Any) -> Any:
        """Check the arguments and run: dense `(T, B, I)`, `(B, T, I)` or `(T, I)`, or packed."""
        if isinstance(input, PackedSequence):
            return self.run_packed(input, hx)
        return self.run_dense(input, hx)

    def run_dense(self, input: Any, hx: Any) -> Any:
        """Run a tensor of sequences of one length."""
        self.check_input(input)
        batched = input.dim() == 3
        x = self.time_first(input)
        batch = x.size(1)
        if hx is not None:
            self.check_state(hx, batch, batched)
        state = self.initial_state(x, batch) if hx is None else self.read_state(hx, batched)
        steps, state = self.run_layers(self.to_steps(x), state)
        return self.finish_output(self.to_tensor(steps), batched), self.finish_state(state, batched)

    def run_packed(self, input: PackedSequence, hx: Any) -> Any:
        """Run a PackedSequence; states go in and come out in the caller's order of rows."""
        self.check_packed(input)
        sizes = input.batch_sizes.tolist()
        if hx is None:
            state = self.initial_state(input.data, sizes[0])
        else:
            self.check_state(hx, sizes[0], True)
            state = self.permute(self.read_state(hx, True), input.sorted_indices)
        steps, state = self.run_layers(_split(input.data, sizes), state)
        packed = PackedSequence(torch.cat(steps), input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return packed, self.finish_state(self.permute(state, input.unsorted_indices), True)

    def some_weight(self) -> Tensor:
        """A parameter, to read the layer's dtype and device from."""
        return self.weights(0, 0).ih

    # Arguments of a call

    def check_input(self, input: Any) -> None:
        """Raise unless the input is `(T, B, I)`, `(B, T, I)` or `(T, I)`, T > 0, of the weights' dtype and device."""
        tensor = check.check_tensor("input", input)
        check.check_rank("input", tensor, (2, 3))
        self.check_features(tensor)
        check.check_length("input", tensor.size(1 if self.batch_first and tensor.dim() == 3 else 0))
        self.check_input_type(tensor)

    def check_features(self, input: Tensor) -> None:
        """Raise unless the last dimension is input_size."""
        check.check_features("input", input, self.input_size)

    def check_input_type(self, input: Tensor) -> None:
        """Raise unless the input has the weights' dtype and device."""
        check.check_like("input", input, self.some_weight())

    def check_packed(self, input: PackedSequence) -> None:
        """Raise unless the packed data are `(N, I)` and the batch sizes are positive, never grow and sum to N."""
        check.check_rank("packed input", input.data, (2,))
        self.check_features(input.data)
        self.check_input_type(input.data)
        sizes = input.batch_sizes.tolist()
        if not sizes or sizes[-1] < 1 or sizes != sorted(sizes, reverse=True) or sum(sizes) != input.data.size(0):
            raise RuntimeError(
                f"Expected batch sizes that are positive, never grow and sum to {input.data.size(0)}, got {sizes}"
            )

    def split_state(self, hx: Any) -> Leaves:
        """The leaves of a state as the caller passed it; raise if the structure is wrong."""
        return (check.check_tensor("hx", hx),)

    def check_state(self, hx: Any, batch: int, batched: bool) -> None:
        """Raise unless every leaf is `(L*D, B, .)`, or `(L*D, .)` with an unbatched input, of the weights' dtype."""
        for name, leaf, width in zip(self.leaf_names, self.split_state(hx), self.leaf_widths(), strict=True):
            self.check_leaf(name, leaf, width, batch, batched)

    def check_leaf(self, name: str, leaf: Tensor, width: int, batch: int, batched: bool) -> None:
        """Raise unless one leaf of the state has the right shape, dtype and device."""
        rows = self.num_layers * self.num_directions
        check.check_shape(name, leaf, (rows, batch, width) if batched else (rows, width))
        self.check_leaf_type(name, leaf)

    def check_leaf_type(self, name: str, leaf: Tensor) -> None:
        """Raise unless one leaf of the state has the weights' dtype and device."""
        check.check_like(name, leaf, self.some_weight())

    # Layouts

    def time_first(self, input: Tensor) -> Tensor:
        """The input as `(T, B, I)`."""
        if input.dim() == 2:
            return input.unsqueeze(1)
        return input.transpose(0, 1) if self.batch_first else input

    def to_steps(self, x: Tensor) -> Steps:
        """`(T, B, I)` as T tensors `(B, I)`."""
        return list(x.unbind(0))

    def to_tensor(self, steps: Steps) -> Tensor:
        """The steps of the top layer as `(T, B, D*P)`."""
        return torch.stack(steps)

    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        """The state of a call without one: zeros `(L*D, B, .)`."""
        rows = self.num_layers * self.num_directions
        return tuple(x.new_zeros(rows, batch, width) for width in self.leaf_widths())

    def read_state(self, hx: Any, batched: bool) -> Leaves:
        """The caller's state as leaves `(L*D, B, .)`."""
        leaves = self.split_state(hx)
        return leaves if batched else tuple(leaf.unsqueeze(1) for leaf in leaves)

    def permute(self, state: Leaves, order: Tensor | None) -> Leaves:
        """The state with its batch rows in another order."""
        return state if order is None else tuple(leaf.index_select(1, order) for leaf in state)

    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        """`(T, B, D*P)` in the layout of the input."""
        if not batched:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def finish_state(self, state: Leaves, batched: bool) -> Any:
        """The final state in the structure and rank that the caller gets."""
        leaves = state if batched else tuple(leaf.squeeze(1) for leaf in state)
        return self.join_state(leaves)

    def join_state(self, state: Leaves) -> Any:
        """The leaves in the structure that the caller gets."""
        return state[0]

    # Layers, directions, steps

    def weights(self, layer: int, direction: int) -> Weights:
        """The parameters of one layer in one direction, as they are now."""
        end = self.suffix(layer, direction)
        return Weights(
            ih=getattr(self, f"weight_ih{end}"),
            hh=getattr(self, f"weight_hh{end}"),
            bias_ih=getattr(self, f"bias_ih{end}", None),
            bias_hh=getattr(self, f"bias_hh{end}", None),
            hr=getattr(self, f"weight_hr{end}", None),
        )

    def row(self, layer: int, direction: int) -> int:
        """Where the state of one layer and direction stands among the L*D rows."""
        return layer * self.num_directions + direction

    def row_state(self, state: Leaves, layer: int, direction: int) -> Leaves:
        """The initial state of one layer and direction: leaves `(B, .)`."""
        return tuple(leaf[self.row(layer, direction)] for leaf in state)

    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        """Run the stack; return the top layer's steps and the final state `(L*D, B, .)`."""
        finals: dict[int, Leaves] = {}
        for layer in range(self.num_layers):
            if layer > 0:
                steps = self.between_layers(steps, layer)
            steps, final = self.run_layer(steps, state, layer)
            finals.update({self.row(layer, direction): leaves for direction, leaves in enumerate(final)})
        return steps, self.stack_states([finals[row] for row in sorted(finals)])

    def between_layers(self, steps: Steps, layer: int) -> Steps:
        """What `layer` is fed: the steps of the layer below, after dropout in training mode."""
        if not (self.training and self.dropout > 0):
            return steps
        # One call for all steps draws the same numbers as torch's layers do.
        dropped = F.dropout(torch.cat(steps), float(self.dropout))
        return _split(dropped, [step.size(0) for step in steps])

    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        """Run one layer in its one or two directions; return its steps and the final leaves of each direction."""
        outputs, final = self.run_direction(steps, self.row_state(state, layer, 0), layer, 0)
        if not self.bidirectional:
            return outputs, [final]
        back, final_back = self.run_direction(steps[::-1], self.row_state(state, layer, 1), layer, 1)
        return self.join_directions(outputs, back[::-1]), [final, final_back]

    def join_directions(self, forward: Steps, backward: Steps) -> Steps:
        """The steps of both directions, side by side."""
        return [torch.cat(pair, -1) for pair in zip(forward, backward, strict=True)]

    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        """Run one layer in one direction over steps in the order given; return its steps and final leaves `(B, .)`."""
        weights = self.weights(layer, direction)
        outputs: Steps = []
        for x in steps:
            running = x.size(0)
            if running == state[0].size(0):
                state = self.cell(x, state, weights)
                outputs.append(state[0])
            else:
                # Rows that have ended, or not yet begun (backward), keep the state that they have.
                new = self.cell(x, tuple(leaf[:running] for leaf in state), weights)
                outputs.append(new[0])
                state = tuple(torch.cat((leaf, old[running:])) for leaf, old in zip(new, state, strict=True))
        return outputs, state

    def stack_states(self, finals: list[Leaves]) -> Leaves:
        """The final leaves of all rows, stacked to `(L*D, B, .)`."""
        return tuple(torch.stack(rows) for rows in zip(*finals, strict=True))

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: `(B, F)` and leaves `(B, .)` to new leaves, the first of which is the output."""
        raise NotImplementedError
