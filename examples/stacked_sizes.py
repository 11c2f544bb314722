"""A stack with a hidden size for each layer, so the state is a list of pairs of different widths.

`nn.LSTM` gives every layer the same width. Here each layer is an LSTM of its own, and the state goes in and comes out
as one pair (h, c) for each layer, of shapes `(1, B, H_k)`.

    rnn-props check examples/stacked_sizes.py:StackedLSTM
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

State = list[tuple[Tensor, Tensor]]


class StackedLSTM(nn.Module):
    """`(B, T, I)` to `(B, T, H_last)`, with a state of one `((1, B, H_k), (1, B, H_k))` for each layer k.

    Raises:
        TypeError: if a size is not an integer, or `hidden_sizes` or the state is not a list or tuple.
        ValueError: if a size is not positive, there are no layers, the input is not three-dimensional, or the state has
            not one pair for each layer.
        RuntimeError: if an input or state has the wrong size.
    """

    def __init__(self, input_size: int, hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(hidden_sizes, (list, tuple)):
            raise TypeError(f"hidden_sizes should be a list of integers, got: {type(hidden_sizes).__name__}")
        if not hidden_sizes:
            raise ValueError("hidden_sizes must name the size of at least one layer, got none")
        sizes = [input_size, *hidden_sizes]
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"sizes should be of type int, got: {type(size).__name__}")
            if size < 1:
                raise ValueError(f"sizes must be greater than zero, got {size}")
        self.layers = nn.ModuleList(
            nn.LSTM(below, size, batch_first=True) for below, size in zip(sizes, hidden_sizes, strict=False)
        )

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run the layers; return the top layer's output at every step and each layer's final (h, c)."""
        if x.dim() != 3:
            raise ValueError(f"expected an input (B, T, I) of 3 dimensions, got {x.dim()}")
        if state is not None:
            self.check_state(state)
        final: State = []
        for index, layer in enumerate(self.layers):
            x, pair = layer(x, None if state is None else state[index])
            final.append(pair)
        return x, final

    def check_state(self, state: State) -> None:
        """Raise unless the state has one pair of tensors for each layer; the layers check the sizes."""
        if not isinstance(state, (list, tuple)):
            raise TypeError(f"state should be a list of pairs (h, c), got: {type(state).__name__}")
        if len(state) != len(self.layers):
            raise ValueError(f"expected a state with {len(self.layers)} pairs (h, c), got {len(state)}")
        for pair in state:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise ValueError("expected each layer's state to be a pair (h, c)")
