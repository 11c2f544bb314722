"""A check, a kind of values and a fault of one's own.

rnn-props check own_checks.py:Bounded --extension own_checks.py
rnn-props explain MY001 --extension own_checks.py
"""

import torch
from torch import nn

from rnn_props import Needs, register_check, register_fault, register_fill


@register_fill("ramp")
def ramp(shape, generator):
    """Values that grow from element to element, from a random start."""
    start = torch.rand(1, generator=generator)
    return start + torch.arange(float(torch.Size(shape).numel())).reshape(shape)


@register_fault("input.doubled")
def doubled(value, rule):
    """Every feature twice."""
    return torch.cat([value, value], -1)


@register_check(
    "MY001",
    "bounded.output",
    needs=Needs(fills=("normal", "large", "ramp")),
    hint="Put a tanh behind the last layer.",
)
def bounded(t):
    """Outputs stay between -1 and 1, however large the input.

    Why: The controller behind our models takes them as positions of a valve.
    Causes:
    - A linear layer at the end without a tanh behind it.
    Fix: Return `torch.tanh(...)` of the last layer.
    """
    largest = t.call().output.abs().max().item()
    if largest > 1:
        t.fail(f"output: expected at most 1, got {largest:.3g}")


class Bounded(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x):
        return torch.tanh(self.fc(self.rnn(x)[0][:, -1]))


class Unbounded(Bounded):
    def forward(self, x):
        return 3 * self.fc(self.rnn(x)[0][:, -1])


class TakesDoubled(Bounded):
    """Takes twice as many features as agreed, and uses the first half."""

    def forward(self, x):
        return super().forward(x[..., : self.rnn.input_size])
