"""Tensors of different devices are refused where CUDA refuses them, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_props.devices import sim

REFUSED = r"Expected all tensors to be on the same device, but found at least two devices, sim:0 and cpu!"


class _Loop(nn.Module):
    """A correct loop over a cell, which the bugs below change in one place."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def start(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[1], 4)

    def room(self, x: Tensor) -> Tensor:
        return x.new_empty(x.shape[0], x.shape[1], 4)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return self.cell(x, h)

    def last(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, out = self.start(x), self.room(x)
        for t, step in enumerate(x):
            h = self.step(step, h)
            out[t] = h
        return out, self.last(h)


class ZerosIntoLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)

    def forward(self, x: Tensor) -> Any:
        zeros = torch.zeros(1, x.shape[1], 4)
        return self.lstm(x, (zeros, zeros))


class ZerosIntoCell(_Loop):
    def start(self, x: Tensor) -> Tensor:
        return torch.zeros(x.shape[1], 4)


class ZerosIntoArithmetic(_Loop):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return self.cell(x, h) + torch.zeros(x.shape[0], 4)


class UnregisteredTensor(_Loop):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(4)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return self.cell(x, h) * self.scale


class OutputOnCPU(_Loop):
    def room(self, x: Tensor) -> Tensor:
        return torch.empty(x.shape[0], x.shape[1], 4)


class StateToCPU(_Loop):
    def last(self, h: Tensor) -> Tensor:
        return h.cpu()


class CachedState(_Loop):
    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.zeros(2, 4)

    def start(self, x: Tensor) -> Tensor:
        return self.kept


class CellsInAList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRUCell(3, 3)
        self.cells = [nn.GRUCell(3, 4)]

    def forward(self, x: Tensor) -> Tensor:
        return self.cells[0](self.first(x[0]))


class MaskOnCPU(_Loop):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return self.cell(x, h) * (torch.arange(x.shape[0]) < 1).unsqueeze(1)


class RightInOneGo(_Loop):
    """No bug: numbers as CPU tensors without dimensions, and indices on the CPU, are legal on CUDA."""

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return self.cell(x, h) * torch.tensor(0.5)

    def last(self, h: Tensor) -> Tensor:
        return h[torch.tensor([1, 0])]


def _moved(cls: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return sim.move(cls())


def _places(result: Any) -> set[str]:
    return {item.device.type for item in (result if isinstance(result, tuple) else (result,))}


@pytest.mark.parametrize(
    "cls", [ZerosIntoLSTM, ZerosIntoCell, ZerosIntoArithmetic, UnregisteredTensor, CachedState, CellsInAList, MaskOnCPU]
)
def test_a_bug_of_placement_raises(cls: type[nn.Module]) -> None:
    cls()(torch.randn(5, 2, 3))
    with pytest.raises(RuntimeError, match="device"):
        _moved(cls)(torch.randn(5, 2, 3, device="sim"))


@pytest.mark.parametrize("cls", [OutputOnCPU, StateToCPU])
def test_a_bug_that_is_legal_shows_in_the_device_of_the_results(cls: type[nn.Module]) -> None:
    assert _places(_moved(cls)(torch.randn(5, 2, 3, device="sim"))) == {"sim", "cpu"}


@pytest.mark.parametrize("cls", [_Loop, RightInOneGo, lambda: nn.LSTM(3, 4)])
def test_a_correct_module_stays_on_its_device(cls: Any) -> None:
    output, state = _moved(cls)(torch.randn(5, 2, 3, device="sim"))
    assert _places(output) == _places(state) == {"sim"}


X = torch.randn(4, 4)
INDEX = torch.tensor([0, 1])
ILLEGAL: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + X,
    "add to the CPU": lambda x: X + x,
    "add a number of the device": lambda x: X + x.sum(),
    "add in place": lambda x: x.add_(X),
    "add in place to the CPU": lambda x: X.clone().add_(x),
    "add in place to a number": lambda x: torch.tensor(1.0).add_(x.sum()),
    "add into": lambda x: torch.add(x, x, out=torch.empty(4, 4)),
    "matmul": lambda x: x @ X,
    "linear": lambda x: F.linear(x, X),
    "linear bias": lambda x: F.linear(x, x, X[0]),
    "baddbmm": lambda x: torch.baddbmm(x[None], x[None], X[None]),
    "einsum": lambda x: torch.einsum("ij,jk", x, X),
    "cat": lambda x: torch.cat([x, X]),
    "stack": lambda x: torch.stack([x, X]),
    "stack of numbers": lambda x: torch.stack([x.sum(), X.sum()]),
    "index_select": lambda x: x.index_select(0, INDEX),
    "index_select of one": lambda x: x.index_select(0, torch.tensor(1)),
    "take of one": lambda x: x.take(torch.tensor(1)),
    "gather": lambda x: x.gather(0, INDEX[None]),
    "scatter": lambda x: x.scatter(0, INDEX[None], 1.0),
    "index_add": lambda x: x.index_add(0, INDEX, X[:2]),
    "index_copy": lambda x: x.index_copy(0, INDEX, x[:2].cpu()),
    "take": lambda x: x.take(INDEX),
    "embedding": lambda x: F.embedding(INDEX, x),
    "embedding of one": lambda x: F.embedding(torch.tensor(1), x),
    "where": lambda x: torch.where(X > 0, x, x),
    "where else": lambda x: torch.where(x > 0, x, X),
    "masked_fill": lambda x: x.masked_fill(X > 0, 0.0),
    "masked_select": lambda x: x.masked_select(X > 0),
    "bernoulli mask": lambda x: x * torch.bernoulli(torch.full((4, 4), 0.5)),
    "index on the device": lambda x: X[x.argmax(0)],
    "index_put values": lambda x: x.index_put((INDEX,), X[:2]),
    "set by index": lambda x: x.__setitem__(INDEX.to("sim"), X[:2]),
    "layer_norm weight": lambda x: F.layer_norm(x, (4,), X[0]),
    "conv1d": lambda x: F.conv1d(x[None], X[:, :, None]),
    "lerp": lambda x: x.lerp(X, 0.5),
    "addcmul": lambda x: torch.addcmul(x, x, X),
    "equal": lambda x: torch.equal(x, X),
    "allclose": lambda x: torch.allclose(x, X),
    "mse_loss": lambda x: F.mse_loss(x, X),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(4, dtype=torch.long)),
    "batch_norm": lambda x: F.batch_norm(x, X[0], X[1].abs(), training=False),
    "a foreach": lambda x: torch._foreach_add([x, x], [X, X]),
}


@pytest.mark.parametrize("function", ILLEGAL.values(), ids=ILLEGAL)
def test_an_operand_on_the_cpu_is_refused(function: Callable[[Tensor], Any]) -> None:
    x = torch.randn(4, 4, device="sim")
    before = x.tolist()
    with pytest.raises(RuntimeError, match=REFUSED):
        function(x)
    assert x.tolist() == before


LEGAL: dict[str, Callable[[Tensor], Tensor]] = {
    "a number": lambda x: x * 2,
    "a CPU number": lambda x: x * torch.tensor(2.0),
    "a CPU number first": lambda x: torch.tensor(2.0) - x,
    "a CPU number in place": lambda x: x.mul_(torch.tensor(2.0)),
    "a CPU number in where": lambda x: torch.where(x > 0, x, torch.tensor(0.0)),
    "a CPU number in masked_fill": lambda x: x.masked_fill(x > 0, torch.tensor(0.0)),
    "a CPU number in clamp": lambda x: x.clamp(min=torch.tensor(0.0)),
    "a CPU number in lerp": lambda x: x.lerp(x + 1, torch.tensor(0.5)),
    "fill": lambda x: x.fill_(torch.tensor(1.0)),
    "copy_": lambda x: x.copy_(X),
    "set a slice": lambda x: _set(x, slice(0, 2), X[:2]),
    "set by index to a CPU number": lambda x: _set(x, INDEX.to(x.device), torch.tensor(1.0)),
    "a CPU index": lambda x: x[INDEX],
    "a CPU mask": lambda x: x[X[0] > 9],
    "set by CPU index": lambda x: _set(x, INDEX, x[:2].flip(0)),
    "a list": lambda x: x[[0, -1]],
    "to the CPU and back": lambda x: x.cpu().to(x.device),
    "to": lambda x: X.to(x),
    "type_as": lambda x: X.type_as(x),
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "data of a packed sequence": lambda x: pack_padded_sequence(x[None], torch.tensor([1]), batch_first=True).data,
}


def _set(x: Tensor, key: Any, value: Any) -> Tensor:
    x[key] = value
    return x


@pytest.mark.parametrize("function", LEGAL.values(), ids=LEGAL)
def test_what_is_legal_on_cuda_is_legal(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 4)
    result = function(x.to("sim"))
    assert result.device == torch.device("sim:0")
    torch.testing.assert_close(result.cpu(), function(x.clone()), rtol=0.0, atol=0.0)


def test_a_refusal_names_the_argument() -> None:
    with pytest.raises(RuntimeError, match=rf"^{REFUSED} \(when checking argument mat2 of aten::mm\)"):
        torch.ones(2, 2, device="sim") @ torch.ones(2, 2)


def test_state_on_the_cpu_is_refused_by_torchs_own_modules() -> None:
    x = torch.randn(5, 2, 3, device="sim")
    with pytest.raises(RuntimeError, match="Input and hidden tensors are not at the same device"):
        _moved(lambda: nn.GRU(3, 4))(x, torch.zeros(1, 2, 4))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not at the same device"):
        nn.LSTM(3, 4)(x)


def test_lengths_stay_on_the_cpu_as_on_cuda() -> None:
    with pytest.raises(RuntimeError, match="1D CPU int64 tensor"):
        pack_padded_sequence(torch.randn(5, 2, 3, device="sim"), torch.tensor([5, 2], device="sim"))


def test_numpy_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"can't convert sim:0 device type tensor to numpy. Use Tensor.cpu\(\)"):
        torch.ones(2, device="sim").numpy()
    with pytest.raises(TypeError, match="can't convert sim:0"):
        torch.ones(2, device="sim").__array__()


def test_a_generator_of_the_cpu_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Expected a 'sim' device type for generator but found 'cpu'"):
        torch.rand(2, device="sim", generator=torch.Generator())


def test_there_is_one_device() -> None:
    with pytest.raises(RuntimeError, match=r"sim:1: there is one simulated device, sim:0"):
        torch.zeros(2, device="sim:1")


def test_sparse_tensors_are_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"no tensors of layout torch.sparse_coo"):
        torch.eye(2, device="sim").to_sparse()
