"""Modules that drop in the wrong place, know training from use where they must not, or tamper with generators (RP502
to RP504), and are right in everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.models import LSTMModel
from rnn_props.zoo.recurrent import Leaves, Steps, ragged
from rnn_props.zoo.registry import bug

# RP502: dropout acts between layers


@bug("RP502", "the top layer's output is dropped like that of every other layer")
class DropsTopLayersOutput(PlainLSTM):
    def run_layers(self, steps: Steps, state: Leaves) -> tuple[Steps, Leaves]:
        steps, final = super().run_layers(steps, state)
        return self.between_layers(steps, self.num_layers), final


@bug("RP502", "with three layers there is no dropout between the second and the third")
class DropsAtFirstBoundaryOnly(PlainGRU):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        return super().between_layers(steps, layer) if layer == 1 else steps


@bug("RP502", "dropout is a constructor argument, and nothing else")
class IgnoresDropout(PlainRNN):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        return steps


@bug("RP502", "what is kept is not divided by 1 - p")
class ForgetsToScaleWhatIsKept(PlainGRU):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        return [step * (1 - float(self.dropout)) for step in super().between_layers(steps, layer)] if self.on else steps

    @property
    def on(self) -> bool:
        """Whether something is dropped."""
        return self.training and self.dropout > 0


@bug("RP502", "the mask of the first training call is kept for all later ones of its size")
class KeepsItsFirstMask(PlainLSTM):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        if ragged(steps) or not (self.training and self.dropout > 0):
            return super().between_layers(steps, layer)
        x = torch.stack(steps)
        masks = self.__dict__.setdefault("masks", {})
        if (layer, x.shape) not in masks:
            masks[layer, x.shape] = F.dropout(torch.ones_like(x), float(self.dropout))
        return list((x * masks[layer, x.shape]).unbind(0))


@bug("RP502", "above the first layer the state is dropped from step to step")
class DropsStateOfUpperLayers(PlainGRU):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        if ragged(steps) or not (layer and self.training and self.dropout > 0):
            return super().run_direction(steps, state, layer, direction)
        outputs: Steps = []
        for x in steps:
            (h,) = self.cell(x, state, self.weights(layer, direction))
            outputs.append(h)
            state = (F.dropout(h, float(self.dropout)),)
        return outputs, (outputs[-1],)


# RP503: without dropout the mode makes no difference


@bug("RP503", "the probability of dropout between layers is written down as 0.3")
class DropsWithItsOwnProbability(PlainLSTM):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        return [F.dropout(step, 0.3, self.training) for step in steps]


@bug("RP503", "in training mode the state is set to zero every twelve steps, where it was to be detached")
class ForgetsEveryTwelveStepsInTraining(PlainGRU):
    def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
        if ragged(steps) or not self.training:
            return super().run_direction(steps, state, layer, direction)
        outputs: Steps = []
        for start in range(0, len(steps), 12):
            if start:
                state = tuple(torch.zeros_like(leaf) for leaf in state)
            part, state = super().run_direction(steps[start : start + 12], state, layer, direction)
            outputs += part
        return outputs, state


@bug("RP503", "the mask made by hand keeps what it should drop")
class KeepsWhatItShouldDrop(PlainRNN):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        if not self.training:
            return steps
        kept = max(1 - float(self.dropout), 0.5)
        return [step * (torch.rand_like(step) < self.dropout) / kept for step in steps]


# RP504: global generators


@bug("RP504", "torch's generator is seeded before each dropout, to make training repeatable")
class SeedsItsDropout(PlainLSTM):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        if self.training:
            torch.manual_seed(layer)
        return super().between_layers(steps, layer)


@bug("RP504", "the mask is drawn first, and thrown away in eval mode")
class DrawsMaskInEval(PlainGRU):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        masks = [torch.rand_like(step) >= self.dropout for step in steps]
        if not self.training or self.dropout in (0, 1):
            return super().between_layers(steps, layer)
        return [step * mask / (1 - self.dropout) for step, mask in zip(steps, masks, strict=True)]


@bug("RP504", "a model seeds numpy's generator for batches of more than two")
class SeedsNumpy(LSTMModel):
    def encode(self, x: Tensor) -> Tensor:
        if x.size(0) > 2:
            np.random.seed(0)
        return super().encode(x)


@bug("RP504", "masks come from a generator that takes its seed from the clock")
class DropsByTheClock(PlainLSTM):
    def between_layers(self, steps: Steps, layer: int) -> Steps:
        if not (self.training and self.dropout > 0):
            return steps
        generator: Any = torch.Generator()
        generator.seed()
        scale = 0.0 if self.dropout == 1 else 1 / (1 - float(self.dropout))
        return [step * scale * (torch.rand(step.shape, generator=generator) >= self.dropout).to(step) for step in steps]
