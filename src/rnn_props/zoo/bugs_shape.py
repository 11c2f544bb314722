"""Modules that are wrong in shapes, structures, dtypes or parameters (RP1xx), and right in everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props.zoo.cells import PlainGRUCell, PlainLSTMCell
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMModel, MultiLayerLSTM, RNNTagger
from rnn_props.zoo.recurrent import Leaves, Steps, Weights
from rnn_props.zoo.registry import bug

# RP101: the output's shape


@bug("RP101", "the prediction of a batch of one loses its batch dimension to squeeze()")
class SqueezesBatchOfOne(LSTMModel):
    def predict(self, output: Tensor) -> Tensor:
        prediction: Tensor = self.fc(output[:, -1])
        return prediction.squeeze(0)


@bug("RP101", "the head is as wide as one direction, so a bidirectional tagger fails at its first call")
class HeadForgetsDirections(RNNTagger):
    def head_width(self) -> int:
        return self.hidden_size


@bug("RP101", "the default state has a row for each layer but not for each direction")
class StateRowsIgnoreDirections(PlainGRU):
    def initial_state(self, x: Tensor, batch: int) -> Leaves:
        return (x.new_zeros(self.num_layers, batch, self.hidden_size),)


@bug("RP101", "the output of a sequence of one step loses its time dimension")
class SqueezesLengthOne(PlainLSTM):
    def to_tensor(self, steps: Steps) -> Tensor:
        return torch.stack(steps) if len(steps) > 1 else steps[0]


@bug("RP101", "from the third layer on, layers in two directions are joined over the batch, not the features")
class JoinsDirectionsOverBatch(PlainRNN):
    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        outputs, final = super().run_layer(steps, state, layer)
        if self.bidirectional and layer >= 2:
            outputs = [torch.cat(step.chunk(2, -1), 0) for step in outputs]
        return outputs, final


# RP102: the state's shape and structure


@bug("RP102", "with batch_first the returned state is batch first too")
class StateBatchFirst(PlainGRU):
    def join_state(self, state: Leaves) -> Any:
        h = state[0]
        return h.transpose(0, 1) if self.batch_first and h.dim() == 3 else h


@bug("RP102", "only the top layer's state comes back")
class ReturnsTopLayerState(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        return tuple(leaf[-self.num_directions :] for leaf in state)


@bug("RP102", "with proj_size the returned h is c's width, filled up with zeros")
class ProjectedStateHasHiddenWidth(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        h, c = state
        return F.pad(h, (0, c.size(-1) - h.size(-1))), c


@bug("RP102", "the LSTM cell returns h alone")
class CellForgetsCellState(PlainLSTMCell):
    def join_state(self, state: Leaves) -> Any:
        return state[0]


# RP103: unbatched input


@bug("RP103", "an unbatched call starts from zeros whatever state is passed")
class UnbatchedIgnoresState(PlainGRU):
    def read_state(self, hx: Any, batched: bool) -> Leaves:
        leaves = super().read_state(hx, batched)
        return leaves if batched else tuple(torch.zeros_like(leaf) for leaf in leaves)


@bug("RP103", "the output of an unbatched sequence keeps a batch dimension of one")
class UnbatchedKeepsBatchDimension(PlainLSTM):
    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        return super().finish_output(output, batched) if batched else output


@bug("RP103", "with batch_first an unbatched sequence comes back reversed in time")
class UnbatchedOutputReversed(PlainRNN):
    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        result = super().finish_output(output, batched)
        return result if batched or not self.batch_first else result.flip(0)


@bug("RP103", "the LSTM cell ignores c when the input is unbatched")
class CellUnbatchedIgnoresState(PlainLSTMCell):
    def read_state(self, hx: Any) -> Leaves:
        h, c = super().read_state(hx)
        return h, c if hx[1].dim() == 2 else torch.zeros_like(c)


# RP104: a batch of zero


@bug("RP104", "view(T, B, -1) cannot infer the features of an empty batch")
class InfersFeaturesOfNothing(PlainLSTM):
    def to_tensor(self, steps: Steps) -> Tensor:
        return torch.cat(steps).view(len(steps), steps[0].size(0), -1)


@bug("RP104", "the rows are run one by one and stacked, and there is nothing to stack in an empty batch")
class StacksNoRows(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        x = super().time_first(input)
        return torch.stack([x[:, row] for row in range(x.size(1))], 1)


@bug("RP104", "an empty batch gives an output of batch one, all zeros")
class EmptyBatchBecomesOne(PlainRNN):
    def to_tensor(self, steps: Steps) -> Tensor:
        output = super().to_tensor(steps)
        return output if output.size(1) else output.new_zeros(output.size(0), 1, output.size(2))


# RP105: dtype of the results


@bug("RP105", "zeros for h and c are made without a dtype, so a model in another dtype than float32 fails")
class ZerosInFloat32(LSTMModel):
    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(1, x.size(0), self.hidden_size, dtype=torch.float32, device=x.device)
        return zeros, zeros


@bug("RP105", "the output of a half precision layer comes back in float32")
class HalfComesBackAsFloat(PlainGRU):
    def finish_output(self, output: Tensor, batched: bool) -> Tensor:
        result = super().finish_output(output, batched)
        return result.float() if result.dtype in (torch.float16, torch.bfloat16) else result


@bug("RP105", "in float16 the cell state comes back in bfloat16")
class CellStateInOtherHalf(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        h, c = state
        return h, c.bfloat16() if c.dtype == torch.float16 else c


@bug("RP105", "a stacked model in half precision predicts in float32, cast for the sake of the loss")
class PredictsHalfInFloat32(MultiLayerLSTM):
    def forward(self, x: Tensor) -> Tensor:
        prediction = super().forward(x)
        return prediction.float() if prediction.dtype in (torch.float16, torch.bfloat16) else prediction


# RP106: constructor arguments dtype= and device=


@bug("RP106", "dtype= does not reach the hidden biases of the layers above the first")
class UpperBiasIgnoresDtype(PlainLSTM):
    def make_parameter(self, name: str, shape: tuple[int, ...], device: Any, dtype: torch.dtype) -> nn.Parameter:
        own = torch.get_default_dtype() if name.startswith("bias_hh") and "_l0" not in name else dtype
        return super().make_parameter(name, shape, device, own)

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        bias = None if weights.bias_hh is None else weights.bias_hh.to(weights.hh.dtype)
        return super().cell(x, state, weights._replace(bias_hh=bias))


@bug("RP106", "a buffer is made without the constructor's dtype")
class BufferIgnoresDtype(PlainGRU):
    scale: Tensor

    def make_parameters(self, device: Any, dtype: torch.dtype) -> None:
        super().make_parameters(device, dtype)
        self.register_buffer("scale", torch.ones((), device=device), persistent=False)

    def to_tensor(self, steps: Steps) -> Tensor:
        output = super().to_tensor(steps)
        return output * self.scale.to(output.dtype)


@bug("RP106", "device= is accepted and ignored")
class ParametersIgnoreDevice(PlainRNN):
    def make_parameters(self, device: Any, dtype: torch.dtype) -> None:
        super().make_parameters(None, dtype)


@bug("RP106", "the GRU cell makes its input weight without the constructor's dtype")
class CellWeightIgnoresDtype(PlainGRUCell):
    def make_parameter(self, name: str, shape: tuple[int, ...], device: Any, dtype: torch.dtype) -> nn.Parameter:
        return super().make_parameter(name, shape, device, torch.get_default_dtype() if name == "weight_ih" else dtype)

    def weights(self) -> Weights:
        found = super().weights()
        return found._replace(ih=found.ih.to(found.hh.dtype))


# RP107: names and shapes of the parameters


@bug("RP107", "one bias vector a layer where torch has two")
class SingleBiasVector(PlainLSTM):
    def parameter_shapes(self, layer: int, direction: int) -> dict[str, tuple[int, ...]]:
        shapes = super().parameter_shapes(layer, direction)
        return {name: shape for name, shape in shapes.items() if not name.startswith("bias_hh")}


@bug("RP107", "bias=False still makes an input bias")
class KeepsBiasWithoutBias(PlainGRU):
    def parameter_shapes(self, layer: int, direction: int) -> dict[str, tuple[int, ...]]:
        bias = {f"bias_ih{self.suffix(layer, direction)}": (self.gates * self.hidden_size,)}
        return super().parameter_shapes(layer, direction) | bias


@bug("RP107", "the backward direction's parameters end in _backward, not in _reverse")
class NamesBackwardOtherwise(PlainRNN):
    def suffix(self, layer: int, direction: int) -> str:
        return f"_l{layer}" + ("_backward" if direction else "")


@bug("RP107", "the LSTM cell keeps its input weight transposed")
class CellKeepsWeightTransposed(PlainLSTMCell):
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = super().parameter_shapes()
        return shapes | {"weight_ih": shapes["weight_ih"][::-1]}

    def weights(self) -> Weights:
        found = super().weights()
        return found._replace(ih=found.ih.t())


# RP108: containers


@bug("RP108", "the state comes back as a list")
class ReturnsStateAsList(PlainLSTM):
    def join_state(self, state: Leaves) -> Any:
        return list(state)


@bug("RP108", "the LSTM cell returns a list")
class CellReturnsList(PlainLSTMCell):
    def join_state(self, state: Leaves) -> Any:
        return list(state)


@bug("RP108", "the scores come with the final state, but for a batch of one they come alone")
class ScoresAloneForOneRow(LSTMModel):
    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return (scores, self.encode(x)) if x.size(0) > 1 else scores
