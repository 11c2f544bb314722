"""Modules that are called in ways of their own, for the tests of inference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class SplattedCell(nn.Module):
    """State in two arguments, and a value in front of it in what comes back."""

    def __init__(self, n_in: int, units: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(n_in, units)

    def forward(self, x: Tensor, h_prev: Tensor, c_prev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(x, (h_prev, c_prev))
        return 2 * h, h, c


class NamedState(NamedTuple):
    voltage: Tensor
    current: Tensor


class NamedTupleGRU(nn.Module):
    """A named tuple for a state, time first."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.inner = nn.LSTM(input_dim, hidden_dim)

    def forward(self, x: Tensor, state: NamedState | None = None) -> tuple[Tensor, NamedState]:
        given = None if state is None else (state.voltage.unsqueeze(0), state.current.unsqueeze(0))
        output, (h, c) = self.inner(x, given)
        return output, NamedState(h[0], c[0])


@dataclass
class Memory:
    hidden: Tensor
    steps: Tensor


class DataclassState(nn.Module):
    """A dataclass for a state, batch first."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_dim, hidden_dim, batch_first=True)

    def forward(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        output, h = self.inner(x, None if memory is None else memory.hidden.transpose(0, 1).contiguous())
        steps = x.new_zeros(x.shape[0], 1) if memory is None else memory.steps
        return output + steps.unsqueeze(1), Memory(h.transpose(0, 1), steps + 0.125 * x.shape[1])


class DictStateGRU(nn.Module):
    """A dict for a state."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_dim, hidden_dim, batch_first=True)

    def forward(self, x: Tensor, state: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        output, h = self.inner(x, None if state is None else state["h"])
        return output, {"h": h}


class ListOfPairs(nn.Module):
    """One pair (h, c) for each layer."""

    def __init__(self, input_size: int, hidden_size: int, depth: int = 1) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * depth
        self.cells = nn.ModuleList(nn.LSTMCell(one, two) for one, two in itertools.pairwise(sizes))

    def forward(self, x: Tensor, states: Sequence[tuple[Tensor, Tensor]] | None = None) -> tuple[Tensor, Any]:
        zeros = x.new_zeros(x.shape[0], self.cells[0].hidden_size)
        now = list(states) if states is not None else [(zeros, zeros)] * len(self.cells)
        outputs = []
        for step in x.unbind(1):
            for index, cell in enumerate(self.cells):
                now[index] = cell(step, now[index])
                step = now[index][0]
            outputs.append(step)
        return torch.stack(outputs, 1), now


class KeepsInputs(nn.Module):
    """Each layer's last input is a part of the state: as wide as the input in the first layer, as a layer above."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.widths = [input_size] + [hidden_size] * (num_layers - 1)
        self.cells = nn.ModuleList(nn.Linear(2 * width, hidden_size) for width in self.widths)

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        before = list(state) if state is not None else [x.new_zeros(x.shape[1], width) for width in self.widths]
        outputs = []
        for step in x.unbind(0):
            for index, cell in enumerate(self.cells):
                step, before[index] = torch.tanh(cell(torch.cat((step, before[index]), -1))), step
            outputs.append(step)
        return torch.stack(outputs), tuple(before)


class FlatState(nn.Module):
    """All of the state in one tensor `(B, 2*L*H)`."""

    def __init__(self, input_size: int, units: int, num_layers: int = 1) -> None:
        super().__init__()
        self.inner = nn.LSTM(input_size, units, num_layers)

    def forward(self, x: Tensor, rnn_states: Tensor | None = None) -> tuple[Tensor, Tensor]:
        layers, batch = self.inner.num_layers, x.shape[1]
        given = None
        if rnn_states is not None:
            h, c = rnn_states.reshape(batch, 2, layers, -1).permute(1, 2, 0, 3).contiguous()
            given = (h, c)
        output, (h, c) = self.inner(x, given)
        return output, torch.stack((h, c)).permute(2, 0, 1, 3).reshape(batch, -1)


class ComplexState(nn.Module):
    """A diagonal linear recurrence in complex numbers."""

    def __init__(self, d_model: int, d_state: int) -> None:
        super().__init__()
        self.into = nn.Linear(d_model, d_state)
        self.out = nn.Linear(d_state, d_model)
        self.angle = nn.Parameter(torch.rand(d_state))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        turn = torch.polar(0.9 * torch.ones_like(self.angle), self.angle)
        into = self.into(x)
        now = torch.zeros_like(into[:, 0] + 0 * turn) if state is None else state
        steps = []
        for step in into.unbind(1):
            now = turn * now + step
            steps.append(now.real)
        return self.out(torch.stack(steps, 1)), now


class BehindAFlag(nn.Module):
    """Gives its state only where it is asked to."""

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, units, batch_first=True)

    def forward(self, x: Tensor, state: Tensor | None = None, return_state: bool = False) -> Any:
        output, h = self.inner(x, state)
        return (output, h) if return_state else output


class FeaturesFirst(nn.Module):
    """`(B, F, T)` in and out, as convolutions have it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.inner = nn.GRU(in_channels, out_channels, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x.transpose(1, 2))[0].transpose(1, 2)
        return output


class Heads(nn.Module):
    """A width that the number of heads divides."""

    def __init__(self, d_model: int, num_heads: int = 4) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError("d_model must be divisible by num_heads")
        self.inner = nn.GRU(d_model, d_model, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


class PartsOfTheLongest(nn.Module):
    """Lengths as parts of the longest."""

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, units, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if bool((lengths > 1).any()):
            raise ValueError("lengths are parts of the longest, in (0, 1]")
        steps = torch.round(lengths * x.shape[1]).long()
        inside = torch.arange(x.shape[1]).unsqueeze(0) < steps.unsqueeze(1)
        output: Tensor = self.inner(x)[0] * inside.unsqueeze(-1)
        return output


class OwnInitialState(nn.Module):
    """Needs a state, and has a method that makes it."""

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.cell = nn.GRUCell(input_size, units)

    def init_hidden(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.units)]

    def forward(self, x: Tensor, hidden: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (h,) = hidden
        h = self.cell(x, h)
        return h, [h]


class LogSpace(nn.Module):
    """A state that is kept in log space."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.into = nn.Linear(dim, dim)

    def forward(self, x: Tensor, prev_hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values = torch.nn.functional.softplus(self.into(x))
        now = torch.zeros_like(values[:, 0]) if prev_hidden is None else prev_hidden
        steps = []
        for step in values.unbind(1):
            now = torch.exp(torch.logaddexp(torch.log(now) - 1.0, torch.log(step)))
            steps.append(now)
        return torch.stack(steps, 1), now


class EquationsOfItsOwn(nn.Module):
    """Called in a way that no convention has: a mask, and a dict that comes back."""

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, units, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor, carry: Tensor | None) -> dict[str, Tensor]:
        output, h = self.inner(x * mask, carry)
        return {"scores": output, "final": h}


class MaskAdapter:
    """The adapter for it, as a user writes it."""

    def call(self, module: nn.Module, input: Tensor, state: Tensor | None) -> Any:
        return module(input, torch.ones_like(input), state)

    def split_state(self, value: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return value["scores"], value["final"]


class CharacterModel(nn.Module):
    """Token ids in, a state beside them, a score for each token out."""

    def __init__(self, vocab_size: int, embed_dim: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, embed_dim)
        self.inner = nn.LSTM(embed_dim, hidden_size, num_layers, batch_first=True)
        self.scores = nn.Linear(hidden_size, vocab_size)

    def forward(
        self, tokens: Tensor, hidden: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, hidden = self.inner(self.table(tokens), hidden)
        return self.scores(output), hidden


class MixesSentences(CharacterModel):
    """The same with batch and time exchanged by a view."""

    def forward(
        self, tokens: Tensor, hidden: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, hidden = self.inner(self.table(tokens), hidden)
        return self.scores(output.reshape(tokens.shape[1], tokens.shape[0], -1).transpose(0, 1)), hidden


class TextClassifier(nn.Module):
    """Token ids and the length of each text in, one score a class out."""

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int, output_dim: int, pad_idx: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, embedding_dim, padding_idx=pad_idx)
        self.inner = nn.GRU(embedding_dim, hidden_dim, batch_first=True)
        self.scores = nn.Linear(hidden_dim, output_dim)

    def forward(self, text: Tensor, text_lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.table(text), text_lengths, True, enforce_sorted=False)
        return self.scores(self.inner(packed)[1][-1])


@dataclass
class Answer:
    last_hidden_state: Tensor
    cache: Tensor


class AnswersWithAnObject(nn.Module):
    """Output and state as fields of an object."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, cache: Tensor | None = None) -> Answer:
        return Answer(*self.inner(x, cache))


class AnswersWithADict(nn.Module):
    """A dict of which one entry is the output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        output, state = self.inner(x)
        return {"summary": state[-1], "logits": output}


class SizesInside(nn.Module):
    """A constructor without arguments: only the layers know how many features there are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GRU(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


class WideAsItsState(nn.Module):
    """One size for everything, by a name that says state."""

    def __init__(self, hidden_size: int, ffn_mult: int = 2) -> None:
        super().__init__()
        self.inner = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.out = nn.Sequential(nn.Linear(hidden_size, ffn_mult * hidden_size), nn.Linear(ffn_mult * hidden_size, 2))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, state = self.inner(x, state)
        return self.out(output), state


class PassesAllOn(nn.Module):
    """A wrapper that knows nothing of what it wraps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)


class ForScript(nn.Module):
    """Annotated as TorchScript wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GRU(3, 5)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, h = self.inner(x, h)
        return output, h


class TorchOrder(nn.GRU):
    """A drop-in with lengths, and a flag for their order."""

    def forward(  # type: ignore[override]
        self, x: Tensor, hx: Tensor | None = None, lengths: Tensor | None = None, enforce_sorted: bool = True
    ) -> tuple[Any, Tensor]:
        if lengths is None:
            return super().forward(x, hx)
        first = self.batch_first
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=enforce_sorted)
        output, state = super().forward(packed, hx)
        steps = x.shape[1 if first else 0]
        return nn.utils.rnn.pad_packed_sequence(output, batch_first=first, total_length=steps)[0], state
