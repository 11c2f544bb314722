"""Modules that break when they are saved, copied, moved or shared (RP901 to RP904, RP906), and are right otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnn_props.zoo import validation as check
from rnn_props.zoo.drop_ins import PlainGRU, PlainRNN
from rnn_props.zoo.models import (
    LSTMCellModel,
    LSTMModel,
    MultiLayerLSTM,
    RNNTagger,
    RunningMeanForecaster,
    SequenceClassifier,
    TimeFirstLast,
)
from rnn_props.zoo.recurrent import Leaves, Weights
from rnn_props.zoo.registry import bug

# RP901: saved and loaded


@bug("RP901", "the fixed random projection of the inputs is a buffer that is not saved")
class ProjectionNotSaved(RNNTagger):
    def __init__(self, input_size: int, hidden_size: int, output_size: int, bidirectional: bool = False) -> None:
        super().__init__(input_size, hidden_size, output_size, bidirectional)
        self.register_buffer("projection", torch.randn(input_size, input_size), persistent=False)
        self.projection: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ self.projection if x.size(-1) == self.input_size else x)


@bug("RP901", "loading translates the keys of an old format, in which the third layer's biases had no entry")
class LosesThirdLayersBiases(MultiLayerLSTM):
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        known = {name: value for name, value in state_dict.items() if "bias" not in name or not name.endswith("_l2")}
        return super().load_state_dict(known, strict=False)


@bug("RP901", "the table of positions becomes a buffer at the first call, so a fresh instance does not know its key")
class RegistersTableInForward(RunningMeanForecaster):
    count: Tensor

    def running_mean(self, x: Tensor) -> Tensor:
        if "count" not in self._buffers or self.count.size(0) < x.size(1):
            self.register_buffer("count", torch.arange(1, x.size(1) + 1, dtype=x.dtype, device=x.device))
        return x.cumsum(1) / self.count[: x.size(1)].unsqueeze(-1)


# RP902: copied


@bug("RP902", "the LSTM is called through a closure, which a copy shares with its original")
class CallsThroughClosure(LSTMModel):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        lstm = self.lstm

        def run(x: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
            output: Tensor = lstm(x, state)[0]
            return output

        self.run = run

    def encode(self, x: Tensor) -> Tensor:
        return self.run(x, self.initial_state(x))


@bug("RP902", "the activation before the head is a lambda, which pickle refuses")
class ActivatesWithLambda(SequenceClassifier):
    def __init__(
        self, input_size: int, hidden_size: int, num_classes: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(input_size, hidden_size, num_classes, num_layers, dropout)
        self.activation: Callable[[Tensor], Tensor] = lambda h: torch.tanh(2 * h)

    def drop(self, h: Tensor) -> Tensor:
        return super().drop(self.activation(h))


@bug("RP902", "the output of the last call is kept with its history, so that the module can't be copied after it")
class KeepsLastOutput(LSTMModel):
    def encode(self, x: Tensor) -> Tensor:
        output = super().encode(x)
        self.last_output = output
        return output


@bug("RP902", "a copy is made with the default nonlinearity")
class CopiesForgetNonlinearity(PlainRNN):
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "nonlinearity"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "nonlinearity": "tanh"})  # type: ignore[no-untyped-call]


@bug("RP902", "copies share the buffer with the scale of the inputs")
class CopiesShareBuffer(LSTMModel):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("scale", torch.rand(input_size) + 0.5)
        self.scale: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x * self.scale)

    def __deepcopy__(self, memo: dict[int, Any]) -> CopiesShareBuffer:
        copied = type(self)(self.input_size, self.hidden_size, self.output_size).to(self.fc.weight)
        copied.load_state_dict(self.state_dict())
        copied.scale = self.scale
        return copied.train(self.training)


# RP903: moved to another dtype


@bug("RP903", "zero states are cached by batch size, and keep the dtype that they were made in")
class CachesZeroStates(PlainGRU):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        cache: dict[int, Leaves] = vars(self).setdefault("zero_states", {})
        if batch not in cache:
            cache[batch] = super().initial_state(x, batch)
        return cache[batch]


@bug("RP903", "for sequences of more than eight steps the table of positions is kept, in the dtype of its first use")
class CachesLongTable(RunningMeanForecaster):
    table: Tensor | None = None

    def running_mean(self, x: Tensor) -> Tensor:
        if x.size(1) <= 8:
            return super().running_mean(x)
        if self.table is None or self.table.size(0) < x.size(1):
            self.table = torch.arange(1, x.size(1) + 1, dtype=x.dtype, device=x.device)
        return x.cumsum(1) / self.table[: x.size(1)].unsqueeze(-1)


@bug("RP903", "predictions are cast to the dtype of the first call")
class RemembersFirstDtype(LSTMModel):
    dtype: torch.dtype | None = None

    def predict(self, output: Tensor) -> Tensor:
        self.dtype = self.dtype or output.dtype
        return super().predict(output).to(self.dtype)


# RP904: new weights


@bug("RP904", "without gradients, the weights of the first call are kept for all later ones")
class KeepsFirstWeights(PlainGRU):
    def weights(self, layer: int, direction: int) -> Weights:
        if torch.is_grad_enabled():
            return super().weights(layer, direction)
        kept: dict[tuple[int, int], Weights] = vars(self).setdefault("kept", {})
        if (layer, direction) not in kept:
            now = super().weights(layer, direction)
            kept[layer, direction] = now._replace(ih=now.ih.detach().clone(), hh=now.hh.detach().clone())
        return kept[layer, direction]


@bug("RP904", "without gradients, a third layer reads recurrent weights that the constructor laid out for it")
class LaysOutThirdLayerOnce(PlainRNN):
    laid_out: Tensor

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.num_layers > 2 and not self.bidirectional:
            self.register_buffer("laid_out", self.weights(2, 0).hh.detach().clone(), persistent=False)

    def weights(self, layer: int, direction: int) -> Weights:
        now = super().weights(layer, direction)
        if layer != 2 or torch.is_grad_enabled() or "laid_out" not in self._buffers:
            return now
        return now._replace(hh=self.laid_out)


@bug("RP904", "the head's weights are read through a view that was taken at the first call, until a move replaces them")
class HeadReadsThroughView(LSTMModel):
    view: Tensor | None = None

    def predict(self, output: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().predict(output)
        if self.view is None:
            self.view = self.fc.weight.detach().t()
        return output[:, -1] @ self.view + self.fc.bias


# RP906: threads


@bug("RP906", "the loop over time keeps h and c on the module")
class LoopsOverOwnState(LSTMCellModel):
    h: Tensor
    c: Tensor

    def forward(self, x: Tensor) -> Tensor:
        check.check_sequence(x, self.input_size, self.fc.weight, length_dim=1)
        self.h = self.c = x.new_zeros(x.size(0), self.hidden_size)
        for step in x.unbind(1):
            self.h, self.c = self.lstm_cell(step, (self.h, self.c))
        prediction: Tensor = self.fc(self.h)
        return prediction


@bug("RP906", "with three layers, the batch size is put on the module for the method that makes the state")
class PutsBatchSizeOnItself(MultiLayerLSTM):
    batch_size = 0

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            self.batch_size = x.size(0)
        return super().forward(x)

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.lstm.num_layers < 3:
            return super().initial_state(x)
        zeros = x.new_zeros(self.lstm.num_layers, self.batch_size, self.lstm.hidden_size)
        return zeros, zeros


@bug("RP906", "without gradients, the initial state stands in memory that all calls of one shape share")
class SharesScratchState(TimeFirstLast):
    scratch: Mapping[Any, Tensor] = {}

    def initial_state(self, x: Tensor) -> Tensor:
        state = super().initial_state(x) + x[:1, :, :1]
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return state
        kind = (state.shape, state.dtype)
        if kind not in self.scratch:
            self.scratch = {**self.scratch, kind: torch.empty_like(state)}
        return self.scratch[kind].copy_(state)
