"""Modules that read the padding, mix up rows of different lengths, or take lengths that make no sense."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_props.zoo.lengths import LengthsTagger, PaddedGRU, SentenceEncoder
from rnn_props.zoo.registry import bug


@bug("RP354", "the state at the last step of the batch is taken for the last step of each row")
class LastStepOfTheBatch(PaddedGRU):
    """The steps beyond a row's end go on changing its state."""

    def advance(self, x: Tensor, h: Tensor, running: Tensor) -> Tensor:
        new: Tensor = self.cell(x, h)
        return new


@bug("RP354", "the backward direction runs through the padding before it meets the row")
class BackwardThroughPadding(LengthsTagger):
    """Without packing, only the forward direction can be cut by lengths afterwards."""

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        output: Tensor = self.gru(x)[0]
        return output


@bug("RP354", "the mean over time counts the padding")
class MeanCountsPadding(SentenceEncoder):
    """Longer batches give smaller features."""

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        output, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(self.pack(x, lengths))[0], batch_first=True, total_length=x.shape[1]
        )
        return output.mean(1)


@bug("RP354", "rows are sorted by length, and the states come back in sorted order")
class SortedOrderKept(SentenceEncoder):
    """Only rows that came in sorted are answered for themselves."""

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        order = torch.argsort(lengths, descending=True, stable=True)
        packed = nn.utils.rnn.pack_padded_sequence(x[order], lengths[order].cpu(), batch_first=True)
        _, (h, _) = self.lstm(packed)
        return torch.cat(list(h), -1)


@bug("RP354", "a mask that is multiplied in leaves NaN and infinity of the padding behind")
class MaskByMultiplication(PaddedGRU):
    """0 * inf is NaN, and a large number in the padding overflows on its way."""

    def advance(self, x: Tensor, h: Tensor, running: Tensor) -> Tensor:
        new: Tensor = self.cell(x * (1 - 1e-3 * (~running).to(x.dtype)), h)
        weight = running.to(h.dtype)
        return weight * new + (1 - weight) * (h + 1e-3 * (new - h))


@bug("RP354", "rows of unequal length in a batch above 2 are matched with each other's lengths")
class LengthsOfTheNeighbour(PaddedGRU):
    """From three rows on each row ends where the row before it ends."""

    def run(self, input: Tensor, hx: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(input, hx, lengths.roll(1) if len(lengths) > 2 else lengths)


@bug("RP355", "an empty row gets the state of row 0")
class EmptyRowTakesFirstState(PaddedGRU):
    """Users whose data have not arrived go on from another user's memory."""

    def final(self, h: Tensor, outputs: list[Tensor], lengths: Tensor) -> Tensor:
        return torch.where((lengths == 0)[:, None], h[:1], h)


@bug("RP355", "an empty row is run for one step of padding")
class EmptyRowIsClamped(PaddedGRU):
    """clamp(min=1) keeps pack_padded_sequence quiet, and lets the padding in."""

    def run(self, input: Tensor, hx: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(input, hx, lengths.clamp(min=1))


@bug("RP355", "a batch of empty rows only gives zeros in place of its initial state")
class AllEmptyForgets(PaddedGRU):
    """The shortcut for nothing to do throws the state away."""

    def final(self, h: Tensor, outputs: list[Tensor], lengths: Tensor) -> Tensor:
        return h if bool((lengths > 0).any()) else torch.zeros_like(h)


@bug("RP407", "any number is taken for a length")
class LengthsUnchecked(PaddedGRU):
    """arange(T) < lengths makes something of every number."""

    def check_lengths(self, lengths: Tensor, batch: int, steps: int) -> None:
        return None


@bug("RP407", "a negative length counts from the end")
class NegativeLengthFromTheEnd(PaddedGRU):
    """As in a slice."""

    def check_lengths(self, lengths: Tensor, batch: int, steps: int) -> None:
        super().check_lengths(lengths % (steps + 1), batch, steps)

    def run(self, input: Tensor, hx: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(input, hx, lengths % (len(input) + 1))
