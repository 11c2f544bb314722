"""What people point the command at by mistake, or with reason: modules that can't be built, called or understood."""

from __future__ import annotations

import json
import time
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Settings:
    """What a module wants in place of numbers."""

    width = 4


class NeedsSettings(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.inner = nn.GRU(settings.width, settings.width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


class NeedsSomething(nn.Module):
    def __init__(self, input_size: int, gizmo) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.inner = nn.GRU(input_size, gizmo)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


class NeedsAFile(nn.Module):
    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.size = json.loads(Path("settings-of-this-model.json").read_text(encoding="utf-8"))["size"]
        self.inner = nn.GRU(input_size, self.size)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


class NeedsTheNetwork(nn.Module):
    def __init__(self, input_size: int) -> None:
        super().__init__()
        with urllib.request.urlopen("http://127.0.0.1:9/weights", timeout=5) as answer:
            self.weights = answer.read()

    def forward(self, x: Tensor) -> Tensor:
        return x


class TakesAGraph(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        output: Tensor = self.inner(adjacency @ x)[0]
        return output


class ReturnsNoTensor(nn.Module):
    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(input_size, 1)

    def forward(self, x: Tensor) -> dict[str, float]:
        return {"loss": float(self.inner(x).mean())}


class HasNoForward(nn.Module):
    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(input_size, 1)


class ChangesItsType(nn.Module):
    """A tuple for several rows, a tensor for one."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        output, h = self.inner(x)
        return (output, h) if len(x) > 1 else output


class Prints(nn.Module):
    """It prints, logs and warns in every call."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        print("a line that nobody asked for", x.shape)
        warnings.warn("a warning that nobody asked for", stacklevel=1)
        result: tuple[Tensor, Tensor] = self.inner(x, state)
        return result


class Slow(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(1.6)
        output: Tensor = self.inner(x)[0]
        return output


class Huge(nn.Module):
    """20 GB of parameters that no argument says."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(input_size, 70_000), nn.Linear(70_000, 70_000)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(self.first(x))
        return output


class LargeUnlessTold(nn.Module):
    """Gigabytes by default, and as small as its arguments say."""

    def __init__(self, input_size: int = 4096, hidden_size: int = 16384, num_layers: int = 12) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, num_layers)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self.inner(x, state)
        return result


class Stepwise(nn.Module):
    """One that can be scripted."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.GRUCell(size, size)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for step in x:
            h = self.inner(step, h)
        return h


def no_module(input_size: int) -> list[int]:
    """A factory that makes something else."""
    return [input_size]


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    scripted = torch.jit.script(Stepwise(3))
compiled = torch.compile(nn.GRU(3, 4), backend="eager")
parallel = nn.DataParallel(nn.GRU(3, 4))
number = 3
