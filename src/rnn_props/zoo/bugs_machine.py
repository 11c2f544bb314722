"""Modules that are right in every single use, and wrong in some order of uses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn_props.zoo.drop_ins import PlainGRU, PlainRNN
from rnn_props.zoo.registry import bug
from rnn_props.zoo.streaming import StreamingTagger


@bug("RP214", "from the second own state in a row on, the memory of the given state is used for the new one")
class ReusesItsOwnState(PlainGRU):
    """A caller who keeps a state to go on from it twice finds it changed."""

    last: Tensor | None = None
    own = 0

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        self.own = self.own + 1 if hx is not None and hx is self.last else 0
        output, state = super().forward(input, hx)
        if self.own > 1 and hx is not None and not torch.is_grad_enabled():
            hx.copy_(state)
            state = hx
        self.last = None if torch.is_grad_enabled() else state
        return output, state


@bug("RP214", "going on from its own state for several steps a fifth time in a row, it rounds it to float32")
class RoundsAfterManyChunks(PlainRNN):
    """A stream that is long enough drifts away from the whole sequence."""

    last: Tensor | None = None
    continued = 0

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        goes_on = isinstance(input, Tensor) and hx is not None and hx is self.last
        several = isinstance(input, Tensor) and input.dim() == 3 and input.shape[1 if self.batch_first else 0] > 1
        self.continued = self.continued + 1 if goes_on and several else 0
        if hx is not None and self.continued == 5:
            hx = hx.to(torch.float32).to(hx.dtype)
        output, state = super().forward(input, hx)
        self.last = None if torch.is_grad_enabled() else state
        return output, state


@bug("RP214", "a rejected call makes a stream forget what it has heard")
class ForgetsWhenRejecting(StreamingTagger):
    """The state is put aside before the input is looked at."""

    def forward(self, x: Tensor) -> Tensor:
        kept, self.state = self.state, None
        if x.shape[-1] != self.input_size:
            raise ValueError(f"input must have {self.input_size} features, got {x.shape[-1]}")
        self.state = kept
        return super().forward(x)
