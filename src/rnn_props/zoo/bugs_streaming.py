"""Streaming modules that forget too little or too much."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_props.zoo.registry import bug
from rnn_props.zoo.streaming import State, StreamingSummary, StreamingTagger


@bug("RP213", "reset clears h and keeps c")
class ResetKeepsCellState(StreamingTagger):
    """Half of the memory goes over to the next sequence."""

    def reset_state(self) -> None:
        if self.state is not None:
            self.state = [(h.new_zeros(h.shape), c) for h, c in self.state]


@bug("RP213", "reset clears the first two layers and keeps the third")
class ResetForgetsTwoLayers(StreamingTagger):
    """The deepest layer goes on."""

    def reset_state(self) -> None:
        if self.state is not None:
            self.state = [
                (h.new_zeros(h.shape), c.new_zeros(c.shape)) if layer < 2 else (h, c)
                for layer, (h, c) in enumerate(self.state)
            ]


@bug("RP213", "the state of the step before the last is kept")
class KeepsStateOneStepEarly(StreamingTagger):
    """What the last step did is lost to the next call."""

    def forward(self, x: Tensor) -> Tensor:
        prediction = super().forward(x)
        if x.shape[1] > 1 and self.state is not None:
            kept = self.state
            state = self.zeros(x)
            for step in x[:, :-1].unbind(1):
                state = self.advance(step, state)
            self.keep(state if len(kept) else kept)
        return prediction


@bug("RP213", "a call begins anew whenever its piece is shorter than the one before")
class BeginsAnewAfterShorterPiece(StreamingSummary):
    """The last piece of a stream is answered without its context."""

    longest = 0

    def reset(self) -> None:
        super().reset()
        self.longest = 0

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] < self.longest:
            self.hidden = None
        self.longest = x.shape[0]
        return super().forward(x)


@bug("RP213", "with a batch above 2 the hidden state of row 2 is lost between calls")
class LosesThirdRow(StreamingTagger):
    """One row of larger batches begins anew with each piece."""

    def keep(self, state: State) -> None:
        super().keep(state)
        if self.state is not None and self.state[0][0].shape[0] > 2:
            others = torch.arange(self.state[0][0].shape[0])[:, None] != 2
            self.state = [(h * others, c * others) for h, c in self.state]
