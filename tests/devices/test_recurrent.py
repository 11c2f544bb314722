"""Torch's six recurrent modules compute on the simulated device what they compute on the CPU."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from device_runs import assert_same, moved, on_both
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERED = [nn.RNN, nn.GRU, nn.LSTM]
CELLS = [nn.RNNCell, nn.GRUCell, nn.LSTMCell]
#: What the order of operations and one rounding of the gates explain. The fused cells are not the CPU's arithmetic.
ROUNDING = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 1e-2, torch.bfloat16: 8e-2}


def _run(module: nn.Module, *args: Any) -> tuple[Any, dict[str, Tensor | None]]:
    """The results of a call, and every gradient of a sum that weighs each element differently."""
    results = module(*args)
    flat = [results] if isinstance(results, Tensor) else [results[0], *_parts(results[1])]
    data = [item.data if not isinstance(item, Tensor) else item for item in flat]
    loss = sum(
        (item.float() * torch.arange(1, item.numel() + 1, device=item.device).view_as(item)).sin().sum()
        for item in data
    )
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    gradients |= {f"argument {place}": item.grad for place, item in enumerate(_tensors(args)) if item.requires_grad}
    return results, gradients


def _weighed(item: Tensor) -> Any:
    weights = torch.linspace(0.1, 1.0, item.numel(), dtype=torch.float64, device=item.device)
    return (item.double() * weights.view_as(item)).sum()


def _parts(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def _tensors(args: Any) -> list[Tensor]:
    found = [item for arg in args for item in (arg if isinstance(arg, tuple) else (arg,))]
    return [item for item in found if isinstance(item, Tensor) and item.is_leaf]


def _agree(module: nn.Module, *args: Any, atol: float) -> None:
    there, given_there = moved(module), moved(args)
    torch.manual_seed(1)
    expected, gradients = _run(module, *args)
    torch.manual_seed(1)
    actual, gradients_there = _run(there, *given_there)
    assert_same(expected, actual, atol=atol, layout=False)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert_same(gradient, gradients_there[name], atol=8 * atol, layout=False)


def _state(cls: type[nn.Module], *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Any:
    made = tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return made if cls in (nn.LSTM, nn.LSTMCell) else made[0]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("cls", LAYERED)
def test_every_configuration_agrees_forward_and_backward(cls: type[nn.Module], data: st.DataObject) -> None:
    draw = data.draw
    bidirectional, batch_first, bias = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    layers, length, batch = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    size, hidden = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    dropout = draw(st.sampled_from([0.0, 0.5])) if layers > 1 else 0.0
    proj = draw(st.integers(0, hidden - 1)) if cls is nn.LSTM else 0
    batched, with_state = draw(st.booleans()), draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 99)))
    options: dict[str, Any] = {"proj_size": proj} if cls is nn.LSTM else {}
    options |= {"batch_first": batch_first, "bidirectional": bidirectional, "dropout": dropout}
    module = cls(size, hidden, layers, bias=bias, dtype=torch.float64, **options)
    steps = (batch, length) if batch_first else (length, batch)
    x = torch.randn(*(steps if batched else (length,)), size, dtype=torch.float64, requires_grad=True)
    rows = (layers * (1 + bidirectional), *((batch,) if batched else ()))
    args = (x, _state(cls, (*rows, proj or hidden), (*rows, hidden), dtype=torch.float64)) if with_state else (x,)
    _agree(module, *args, atol=ROUNDING[torch.float64])


@pytest.mark.parametrize("dtype", list(ROUNDING), ids=str)
@pytest.mark.parametrize("cls", [*LAYERED, *CELLS])
def test_every_dtype_agrees(cls: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = cls(3, 4, dtype=dtype)
    shape = (3, 3) if cls in CELLS else (5, 3, 3)
    rows = (3, 4) if cls in CELLS else (1, 3, 4)
    _agree(module, torch.randn(shape, dtype=dtype), _state(cls, rows, rows, dtype=dtype), atol=ROUNDING[dtype])


@pytest.mark.parametrize(("bias", "batched"), [*itertools.product([True, False], repeat=2)])
@pytest.mark.parametrize("cls", CELLS)
def test_cells_agree_with_and_without_bias_and_batch(cls: type[nn.Module], bias: bool, batched: bool) -> None:
    torch.manual_seed(0)
    rows = (2,) if batched else ()
    x = torch.randn(*rows, 3, requires_grad=True)
    _agree(cls(3, 4, bias=bias), x, _state(cls, (*rows, 4), (*rows, 4)), atol=ROUNDING[torch.float32])


@pytest.mark.parametrize("lengths", [(4, 3, 1), (1, 4, 2), (2, 2, 2)], ids=str)
@pytest.mark.parametrize(("cls", "bidirectional"), [*itertools.product(LAYERED, [False, True])])
def test_packed_sequences_agree(cls: type[nn.Module], bidirectional: bool, lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = cls(3, 4, 2, bidirectional=bidirectional)
    padded = torch.randn(4, 3, 3)

    def run(module: nn.Module, padded: Tensor) -> Any:
        packed = pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=False)
        assert packed.batch_sizes.device.type == "cpu"
        output, state = module(packed)
        sequences, sizes = pad_packed_sequence(output)
        assert sizes.device.type == "cpu"
        return sequences.detach(), [item.detach() for item in _parts(state)], sizes.tolist()

    expected, actual = on_both(run, module, padded)
    assert_same(expected, actual, atol=ROUNDING[torch.float32])


@pytest.mark.parametrize("cls", LAYERED)
def test_a_packed_sequence_moves_and_its_gradient_agrees(cls: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = cls(3, 4)
    there = moved(module)
    x = torch.randn(4, 3, 3)
    packed = pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False)
    assert packed.to("sim").sorted_indices.device.type == "sim"
    _, gradients = _run(module, packed)
    _, gradients_there = _run(there, packed.to("sim"))
    for name, gradient in gradients.items():
        assert_same(gradient, gradients_there[name], atol=2e-5, layout=False)


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell])
def test_second_derivatives_are_right(cls: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = moved(cls(2, 3, dtype=torch.float64))
    rows = (2, 2) if cls in CELLS else (2, 2, 2)
    x = torch.randn(rows, dtype=torch.float64).to("sim").requires_grad_()

    def output(x: Tensor) -> Tensor:
        result = module(x)
        return result if isinstance(result, Tensor) else result[0]

    def on_cpu(x: Tensor) -> Tensor:
        return output(x.to("sim")).cpu()

    at = x.detach().cpu().requires_grad_()
    assert torch.autograd.gradcheck(on_cpu, (at,))
    assert torch.autograd.gradgradcheck(on_cpu, (at,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("cell", "gates"), [("_thnn_fused_lstm_cell", 4), ("_thnn_fused_gru_cell", 3)])
def test_gates_of_low_precision_are_rounded_once(cell: str, gates: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    products = [(2 * torch.randn(64, width * 8)).to(dtype).to("sim") for width in (gates, gates, 1)]
    fused = getattr(torch.ops.aten, cell)
    for low, exact in zip(fused(*products), fused(*(item.float() for item in products)), strict=True):
        assert low.dtype == dtype
        assert torch.equal(low, exact.to(dtype))
