"""Targets that misbehave, for the tests of the runner. Each is a module that somebody could have written."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

import torch
from torch import Tensor, nn


class _Model(nn.Module):
    """A correct small model, (B, T, I) -> (B, O)."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x)
        result: Tensor = self.head(output[:, -1])
        return result


class RaisesInConstructor(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        raise RuntimeError("the weights file is missing")


class RaisesInForward(_Model):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("not written yet")


class ExitsInForward(_Model):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit(3)


class ExitsForTwoSteps(_Model):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(1) == 2:
            sys.exit("too short")
        return super().forward(x)


class Prints(_Model):
    def forward(self, x: Tensor) -> Tensor:
        print("a line on standard output")
        os.write(1, b"and one past Python\n")
        print("and one on standard error", file=sys.stderr)
        return super().forward(x)


class OverflowsAndForThreeRowsDivides(_Model):
    def forward(self, x: Tensor) -> Tensor:
        size = torch.exp(x.abs().amax())
        scores = super().forward(x)
        return scores * size / size if x.size(0) == 3 else scores * size


class HangsForThreeRows(_Model):
    def forward(self, x: Tensor) -> Tensor:
        while x.size(0) == 3:
            time.sleep(0.05)
        return super().forward(x)


class SpinsForThreeRows(_Model):
    def forward(self, x: Tensor) -> Tensor:
        while x.size(0) == 3:
            pass
        return super().forward(x)


class StarvesAtThreeRows(_Model):
    """Its first call with three rows works a tenth of a second, on a core where others go first."""

    starved = False

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 3 and not self.starved:
            type(self).starved = True
            self._starve()
        return super().forward(x)

    def _starve(self) -> None:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        spin = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
        others = [subprocess.Popen([sys.executable, "-S", "-c", spin]) for _ in range(2)]
        os.nice(15)
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, cores)


class DiesForThreeRows(_Model):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 3:
            ctypes.string_at(0)
        return super().forward(x)


class DiesInForward(_Model):
    def forward(self, x: Tensor) -> Tensor:
        ctypes.string_at(0)
        return super().forward(x)


class HangsInForward(_Model):
    def forward(self, x: Tensor) -> Tensor:
        while True:
            time.sleep(0.05)


class WantsAllMemory(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.table = nn.Parameter(torch.empty(2**24, 2**12))


class ReturnsText(_Model):
    def forward(self, x: Tensor) -> Tensor:
        return "a result"  # type: ignore[return-value]


class NeedsMore(_Model):
    def forward(self, x: Tensor, timestamps: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class NeedsTheta(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int, theta: float) -> None:
        super().__init__(input_size, hidden_size, output_size)
        if not isinstance(theta, float):
            raise TypeError("theta must be a float")


class NotAModule:
    pass


def make_model(input_size: int, hidden_size: int, output_size: int) -> nn.Module:
    """A factory."""
    return _Model(input_size, hidden_size, output_size)


class Holder:
    """A namespace, for dotted attributes."""

    Inner = _Model


an_instance = _Model(3, 4, 2)
an_lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)


class ReadsPackedStateOfFewerLayers(_Model):
    """For three rows it makes the call on which torch's packed LSTM dies: c has fewer layers than h."""

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 3:
            packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(5, 3, 3), torch.tensor([5, 3, 2]))
            nn.LSTM(3, 5, num_layers=2)(packed, (torch.zeros(2, 3, 5), torch.zeros(1, 3, 5)))
        return super().forward(x)


class CorruptsTheHeap(_Model):
    """For three rows it makes calls after which torch's memory is in disorder: the end varies from run to run."""

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 3:
            packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(6, 4, 3), torch.tensor([6, 6, 6, 6]))
            for _ in range(20):
                nn.LSTM(3, 5)(packed, (torch.zeros(1, 1, 5), torch.zeros(1, 1, 5)))
        return super().forward(x)


def make_lstm(input_size: int, hidden_size: int, num_layers: int = 1) -> nn.Module:
    """A factory of a module that is called as torch's LSTM."""
    return nn.LSTM(input_size, hidden_size, num_layers)
