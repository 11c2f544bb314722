"""A module with a parallel form for sequences and a method for one step, and ways in which the two part."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn_props.zoo.registry import bug, correct
from rnn_props.zoo.validation import check_sizes


@correct("a causal convolution and a diagonal recurrence, with a step method that carries the windows of both")
class ConvolvedRecurrence(nn.Module):
    """`(B, T, I)` to `(B, T, I)`; `step` takes `(B, 1, I)`, the last inputs `(B, I, 3)` and the state `(B, I)`.

    Raises:
        ValueError: if the size is not positive, or the input has another one.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_sizes(d_model=d_model)
        self.convolution = nn.Conv1d(d_model, d_model, 3, groups=d_model)
        self.decay = nn.Parameter(torch.rand(d_model))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.size(-1) != self.decay.numel() or x.size(1) == 0:
            raise ValueError(f"expected an input (B, T, {self.decay.numel()}), got {tuple(x.shape)}")
        u = self.convolution(functional.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)
        h = torch.zeros_like(u[:, 0])
        steps = []
        for step in range(u.size(1)):
            h = torch.sigmoid(self.decay) * h + u[:, step]
            steps.append(h)
        return torch.stack(steps, 1)

    def allocate_inference_cache(self, batch_size: int) -> tuple[Tensor, Tensor]:
        size = self.decay.numel()
        return torch.zeros(batch_size, size, 3), torch.zeros(batch_size, size)

    def step(self, x: Tensor, conv_state: Tensor, ssm_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        conv_state = torch.cat((conv_state[:, :, 1:], x.squeeze(1).unsqueeze(-1)), -1)
        u = functional.conv1d(
            conv_state, self.convolution.weight, self.convolution.bias, groups=len(self.decay)
        ).squeeze(-1)
        ssm_state = torch.sigmoid(self.decay) * ssm_state + u
        return ssm_state.unsqueeze(1), conv_state, ssm_state


@bug("RP202", "step hands on a convolution window in which the last input is missing")
class StepDropsWindow(ConvolvedRecurrence):
    def step(self, x: Tensor, conv_state: Tensor, ssm_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, after, ssm_state = super().step(x, conv_state, ssm_state)
        return output, torch.cat((after[:, :, :2], torch.zeros_like(x.transpose(1, 2))), -1), ssm_state


@bug("RP202", "step lets its state decay once more on the way out")
class StepDecaysTwice(ConvolvedRecurrence):
    def step(self, x: Tensor, conv_state: Tensor, ssm_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, conv_state, ssm_state = super().step(x, conv_state, ssm_state)
        return output, conv_state, torch.sigmoid(self.decay) * ssm_state
