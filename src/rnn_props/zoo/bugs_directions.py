"""Modules that mix up layers and directions (RP209, RP305 and RP306), and are right in everything else."""

from __future__ import annotations

from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.recurrent import Leaves, Steps, Weights, ragged
from rnn_props.zoo.registry import bug

# RP209: each layer and direction is the one of its name


@bug("RP209", "above the first layer, the two directions run with each other's weights")
class SwapsUpperDirectionWeights(PlainLSTM):
    def weights(self, layer: int, direction: int) -> Weights:
        return super().weights(layer, self.num_directions - 1 - direction if layer else direction)


@bug("RP209", "layers above the first read the backward half first")
class UpperLayersReadBackwardFirst(PlainGRU):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        steps = super().between_layers(steps, layer)
        width = self.output_width
        return [step.roll(width, -1) for step in steps] if self.bidirectional else steps


@bug("RP209", "the second and the third layer run with each other's weights")
class SwapsUpperLayersWeights(PlainRNN):
    def weights(self, layer: int, direction: int) -> Weights:
        return super().weights({1: 2, 2: 1}[layer] if layer and self.num_layers == 3 else layer, direction)


@bug("RP209", "the third layer reads the sum of the two layers below it")
class ResidualIntoThirdLayer(PlainGRU):
    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        finals: list[Leaves] = []
        seen = [steps]
        for layer in range(self.num_layers):
            below = seen[-1]
            if layer == 2:
                below = [now + before for now, before in zip(below, seen[1], strict=True)]
            outputs, final = self.run_layer(self.between_layers(below, layer) if layer else below, state, layer)
            seen.append(outputs)
            finals += final
        return seen[-1], self.stack_states(finals)


# RP305: each half reads from its own end


@bug("RP305", "the outputs of the backward direction are not flipped back")
class BackwardOutputNotFlipped(PlainGRU):
    def join_directions(self, forward: Steps, backward: Steps) -> Steps:
        return super().join_directions(forward, backward if ragged(backward) else backward[::-1])


@bug("RP305", "the input of the backward direction is not flipped: it reads from left to right, too")
class BackwardInputNotFlipped(PlainLSTM):
    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        if not self.bidirectional:
            return super().run_layer(steps, state, layer)
        outputs, final = self.run_direction(steps, self.row_state(state, layer, 0), layer, 0)
        back, final_back = self.run_direction(steps, self.row_state(state, layer, 1), layer, 1)
        return self.join_directions(outputs, back), [final, final_back]


@bug("RP305", "in sequences of more than twelve steps the backward half is one step late")
class BackwardHalfOneStepLate(PlainRNN):
    def join_directions(self, forward: Steps, backward: Steps) -> Steps:
        late = len(backward) > 12 and not ragged(backward)
        return super().join_directions(forward, [backward[0], *backward[:-1]] if late else backward)


# RP306: both directions are one computation


@bug("RP306", "in the third layer the backward direction runs with the forward direction's weights")
class ThirdLayerBackwardUsesForwardWeights(PlainLSTM):
    def weights(self, layer: int, direction: int) -> Weights:
        return super().weights(layer, 0 if layer == 2 else direction)


@bug("RP306", "the backward direction leaves out the hidden bias")
class BackwardForgetsHiddenBias(PlainGRU):
    def weights(self, layer: int, direction: int) -> Weights:
        weights = super().weights(layer, direction)
        return weights._replace(bias_hh=None) if direction else weights


@bug("RP306", "the second of three layers reads its sequence from left to right in both directions")
class MiddleLayerNotReversed(PlainRNN):
    def run_layer(self, steps: Steps, state: Leaves, layer: int) -> tuple[Steps, list[Leaves]]:
        if not (self.bidirectional and layer == 1 and self.num_layers == 3):
            return super().run_layer(steps, state, layer)
        outputs, final = self.run_direction(steps, self.row_state(state, layer, 0), layer, 0)
        back, final_back = self.run_direction(steps, self.row_state(state, layer, 1), layer, 1)
        return self.join_directions(outputs, back), [final, final_back]
