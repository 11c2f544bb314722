"""Modules that take a flag for each row and step: where an episode begins, or what is padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_props.zoo.registry import bug, correct
from rnn_props.zoo.validation import check_sizes, check_tensor


@correct("an LSTM over rollouts, with a fresh state where an episode begins")
class EpisodeLSTM(nn.Module):
    """`(T, B, I)`, a state `((B, H), (B, H))` and bools `(T, B)` to `(T, B, H)` and the final state.

    Raises:
        TypeError: if the state is no pair of tensors.
        ValueError: if a size is not positive, or the input, the state or the flags have other sizes.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.cell = nn.LSTMCell(input_size, hidden_size)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, is_init: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = self.initial(x, state)
        if is_init is not None and is_init.shape != x.shape[:2]:
            raise ValueError(f"expected flags {tuple(x.shape[:2])}, got {tuple(is_init.shape)}")
        steps = []
        for step in range(x.size(0)):
            starts = x.new_zeros(x.size(1), dtype=torch.bool) if is_init is None else is_init[step].bool()
            h, c = self.step(x[step], h, c, starts)
            steps.append(h)
        return torch.stack(steps), (h, c)

    def initial(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        size = self.cell.hidden_size
        if x.dim() != 3 or x.size(-1) != self.cell.input_size or x.size(0) == 0:
            raise ValueError(f"expected an input (T, B, {self.cell.input_size}), got {tuple(x.shape)}")
        if state is None:
            return x.new_zeros(x.size(1), size), x.new_zeros(x.size(1), size)
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise TypeError(f"expected a pair (h, c), got {type(state).__name__}")
        for name, part in zip("hc", state, strict=True):
            if check_tensor(name, part).shape != (x.size(1), size) or part.dtype != x.dtype:
                raise ValueError(
                    f"expected {name} ({x.size(1)}, {size}) of {x.dtype}, got {tuple(part.shape)} of {part.dtype}"
                )
        return state[0], state[1]

    def step(self, x: Tensor, h: Tensor, c: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """One step, before which the rows that are flagged forget."""
        h, c = (torch.where(starts.unsqueeze(-1), torch.zeros_like(part), part) for part in (h, c))
        return self.cell(x, (h, c))  # type: ignore[no-any-return]


@bug("RP356", "where an episode begins h is cleared and c is not")
class KeepsCellAtStart(EpisodeLSTM):
    def step(self, x: Tensor, h: Tensor, c: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.where(starts.unsqueeze(-1), torch.zeros_like(h), h)
        return self.cell(x, (h, c))  # type: ignore[no-any-return]


@bug("RP356", "the state is cleared after the step that is flagged, and not before it")
class ClearsOneStepLate(EpisodeLSTM):
    def step(self, x: Tensor, h: Tensor, c: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        after = self.cell(x, (h, c))
        h, c = (torch.where(starts.unsqueeze(-1), torch.zeros_like(part), part) for part in after)
        return h, c


@bug("RP356", "an episode that begins in one row clears the state of all")
class ClearsEveryRow(EpisodeLSTM):
    def step(self, x: Tensor, h: Tensor, c: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(x, h, c, starts.any().expand_as(starts))


@bug("RP356", "flags are lined up with the units where the batch is as large as the hidden size")
class FlagsAlongUnits(EpisodeLSTM):
    def step(self, x: Tensor, h: Tensor, c: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        if h.size(0) == h.size(1) > 1:
            h, c = (torch.where(starts, torch.zeros_like(part), part) for part in (h, c))
            return self.cell(x, (h, c))  # type: ignore[no-any-return]
        return super().step(x, h, c, starts)


@correct("a classifier of token ids that skips the steps which a mask leaves out")
class MaskedClassifier(nn.Module):
    """Token ids `(B, T)` below `vocab_size` and a mask `(B, T)`, true at tokens, to scores `(B, O)`.

    Raises:
        ValueError: if a size is not positive, or the mask has another shape than the ids.
    """

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int, num_classes: int) -> None:
        super().__init__()
        check_sizes(vocab_size=vocab_size, embedding_dim=embedding_dim, hidden_dim=hidden_dim, num_classes=num_classes)
        self.table = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.cell = nn.GRUCell(embedding_dim, hidden_dim)
        self.scores = nn.Linear(hidden_dim, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if input_ids.dim() != 2:
            raise ValueError(f"expected token ids (B, T), got {tuple(input_ids.shape)}")
        present = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        if present.shape != input_ids.shape:
            raise ValueError(f"expected a mask {tuple(input_ids.shape)}, got {tuple(present.shape)}")
        x = self.table(input_ids)
        h = x.new_zeros(x.size(0), self.cell.hidden_size)
        for step in range(x.size(1)):
            h = self.carried(h, self.cell(x[:, step], h), present[:, step].unsqueeze(-1))
        return self.scores(h)  # type: ignore[no-any-return]

    def carried(self, before: Tensor, after: Tensor, present: Tensor) -> Tensor:
        """The state after a step: that before it in rows that have no token there."""
        return torch.where(present, after, before)


@bug("RP354", "a row without a token at a step takes a part of what stands there")
class PaddingSeepsIn(MaskedClassifier):
    def carried(self, before: Tensor, after: Tensor, present: Tensor) -> Tensor:
        return torch.where(present, after, 0.9 * before + 0.1 * after)
