"""Modules with something wrong about their weights (RP406, RP905, RP909 to RP911), and right otherwise: loaded in any
size, not registered, not initialised, shared or overwritten."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props.zoo import validation as check
from rnn_props.zoo.cells import PlainGRUCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMModel, MultiLayerLSTM, TimeFirstGRU, TimeFirstLast
from rnn_props.zoo.registry import bug

# RP406: weights of a wrong size


@bug("RP406", "weights are loaded one by one with copy_, which broadcasts")
class BroadcastsLoadedWeights(PlainGRU):
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(state_dict[name])


@bug("RP406", "weights are loaded as far as they fit, and cut off or left as they are beyond that")
class LoadsSlices(LSTMModel):
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        fitted = dict(state_dict)
        for name, parameter in self.named_parameters():
            common = tuple(slice(min(pair)) for pair in zip(parameter.shape, state_dict[name].shape, strict=True))
            fitted[name] = parameter.detach().clone()
            fitted[name][common] = state_dict[name][common]
        return super().load_state_dict(fitted, strict, assign)


@bug("RP406", "biases above the second layer are skipped if their size is another")
class SkipsUpperBiases(PlainLSTM):
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        own = dict(self.named_parameters())
        skipped = {
            name
            for name, value in state_dict.items()
            if name.startswith("bias") and "_l2" in name and value.shape != own[name].shape
        }
        kept = {name: value for name, value in state_dict.items() if name not in skipped}
        return super().load_state_dict(kept, strict and not skipped, assign)


# RP905: registered


@bug("RP905", "the cell on top of the LSTM is kept in a Python list")
class CellInPlainList(LSTMModel):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.cells = [nn.GRUCell(hidden_size, hidden_size)]

    def encode(self, x: Tensor) -> Tensor:
        h: Tensor | None = None
        outputs = []
        for step in super().encode(x).unbind(1):
            h = self.cells[0](step, h)
            outputs.append(h)
        return torch.stack(outputs, 1)


@bug("RP905", "the learned initial state is a tensor with requires_grad, and no parameter")
class StartStateNoParameter(TimeFirstLast):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.h0 = torch.randn(hidden_size, requires_grad=True)

    def initial_state(self, x: Tensor) -> Tensor:
        return self.h0.to(x).expand_as(super().initial_state(x))


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.to(x)


@bug("RP905", "the features are mixed by a random matrix that is hidden in a partial function")
class HidesMatrixInPartial(TimeFirstGRU):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.mix = functools.partial(_mix, weight=torch.randn(input_size, input_size))

    def prepare(self, x: Tensor) -> Tensor:
        return self.mix(x)


@bug("RP905", "with three layers the final state is scaled by random numbers that are kept in a dict")
class ScalesThirdLayerFromDict(MultiLayerLSTM):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, num_layers, output_size)
        self.scales = {2: torch.rand(output_size) + 0.5}

    def forward(self, x: Tensor) -> Tensor:
        scale = self.scales.get(self.lstm.num_layers - 1)
        prediction = super().forward(x)
        return prediction if scale is None else prediction * scale.to(x)


# RP909: initialised


@bug("RP909", "only what has two dimensions is initialised: the biases are not")
class LeavesBiasesEmpty(PlainGRU):
    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


@bug("RP909", "above the first layer, the backward direction's biases are not initialised")
class LeavesUpperBackwardEmpty(PlainLSTM):
    def reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if not ("bias" in name and name.endswith("_reverse") and "_l0" not in name):
                nn.init.uniform_(parameter, -0.5, 0.5)


@bug("RP909", "the buffer with the initial state is made with torch.empty")
class StartsFromEmptyBuffer(TimeFirstLast):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("h0", torch.empty(hidden_size))
        self.h0: Tensor

    def initial_state(self, x: Tensor) -> Tensor:
        return torch.tanh(self.h0).expand_as(super().initial_state(x))


# RP910: distinct


@bug("RP910", "both directions share one set of weights")
class SharesDirections(PlainGRU):
    def make_parameters(self, device: Any, dtype: torch.dtype) -> None:
        super().make_parameters(device, dtype)
        for name in list(self._parameters):
            self.register_parameter(name, self.get_parameter(name.removesuffix("_reverse")))


@bug("RP910", "the layers above the first are one layer, repeated")
class RepeatsOneLayer(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        check.check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.input_size = input_size
        first = nn.GRU(input_size, hidden_size, batch_first=True)
        self.layers = nn.ModuleList([first] + [nn.GRU(hidden_size, hidden_size, batch_first=True)] * (num_layers - 1))

    def forward(self, x: Tensor) -> Tensor:
        check.check_sequence(x, self.input_size, next(self.parameters()), length_dim=1)
        for layer in self.layers:
            x = layer(x)[0]
        return x


@bug("RP910", "both biases are parameters over one tensor, until a move parts them")
class BiasesShareMemory(PlainGRUCell):
    def make_parameters(self, device: Any, dtype: torch.dtype) -> None:
        super().make_parameters(device, dtype)
        if self.bias:
            self.bias_hh = nn.Parameter(self.get_parameter("bias_ih").data)


# RP911: forward keeps weights


@bug("RP911", "in training mode, dropout acts on the recurrent weights themselves, so that what is dropped is lost")
class DropsWeightsForGood(PlainLSTM):
    def run(self, input: Any, hx: Any) -> Any:
        results = super().run(input, hx)
        if self.training and self.dropout > 0:
            weight = self.weights(0, 0).hh
            weight.data = F.dropout(weight.data, float(self.dropout))
        return results


@bug("RP911", "a call in training mode clips the recurrent weights of the third layer")
class ClipsThirdLayer(PlainRNN):
    def run(self, input: Any, hx: Any) -> Any:
        results = super().run(input, hx)
        if self.training and self.num_layers > 2:
            self.weights(2, 0).hh.data.clamp_(-0.1, 0.1)
        return results


@bug("RP911", "a counter of calls is a buffer, and so every evaluation changes the checkpoint")
class CountsCalls(LSTMModel):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.calls: Tensor

    def forward(self, x: Tensor) -> Tensor:
        prediction = super().forward(x)
        self.calls += 1
        return prediction


@bug("RP911", "in training mode, each batch starts from the mean of the last outputs, which a buffer keeps")
class StartsFromLastBatch(TimeFirstLast):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("start", torch.zeros(hidden_size))
        self.start: Tensor

    def initial_state(self, x: Tensor) -> Tensor:
        return super().initial_state(x) + self.start

    def forward(self, x: Tensor) -> Tensor:
        prediction = super().forward(x)
        if self.training:
            with torch.no_grad():
                self.start.copy_(self.gru(x, self.initial_state(x))[1].mean((0, 1)))
        return prediction
