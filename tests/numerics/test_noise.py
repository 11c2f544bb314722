"""Noise of the size of rounding: where it goes, where it does not, and how large it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.numerics import ARITHMETIC, TF32, UNIT_ROUNDOFF, Arithmetic, NoiseAtEveryOperation, perturbed

UNIT = 2.0**-10
COARSE = Arithmetic(UNIT, 0.0, 1e30)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _values(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=_generator(seed))


@pytest.mark.parametrize("dtype", list(UNIT_ROUNDOFF), ids=str)
def test_the_figures_of_an_arithmetic_are_those_of_its_dtype(dtype: torch.dtype) -> None:
    figures, one = ARITHMETIC[dtype], torch.ones((), dtype=dtype)
    assert one + 2 * figures.unit > one
    assert one + figures.unit == one  # half way, and rounded to even
    smallest = torch.tensor(figures.smallest, dtype=dtype)
    assert smallest > 0
    assert smallest / 2 == 0
    assert torch.isfinite(torch.tensor(figures.largest, dtype=dtype))


def test_tf32_has_the_range_of_float32_and_eleven_bits() -> None:
    assert Arithmetic(2.0**-11, ARITHMETIC[torch.float32].smallest, ARITHMETIC[torch.float32].largest) == TF32


@given(st.integers(0, 99))
def test_either_part_of_a_complex_number_gets_noise_of_the_numbers_size(seed: int) -> None:
    values = torch.tensor([3 + 4e-6j, 0], dtype=torch.complex64).repeat(100, 1)
    change = perturbed(values, 2.0**-11, _generator(seed)) - values
    for part in (change.real, change.imag):
        assert 0.5 * 3 * 2.0**-10 < float(part[:, 0].abs().max()) <= 3.01 * 2.0**-10
    assert bool((change[:, 1] == 0).all())


@given(st.integers(0, 99))
def test_noise_is_never_less_than_the_smallest_number_and_zeros_stay(seed: int) -> None:
    values = torch.tensor([0.0, 1e-9, -1e-9, 1.0], dtype=torch.float64).repeat(20)
    change = (perturbed(values, 2.0**-11, _generator(seed), smallest=2.0**-24) - values).abs().reshape(-1, 4)
    assert bool((change[:, 0] == 0).all())
    assert 1e-9 < float(change[:, 1:3].max()) <= 2.0**-24
    assert float(change[:, 3].max()) <= 2.0**-10


ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "product": lambda x: x * 3,
    "tanh": torch.tanh,
    "matrix product": lambda x: x @ x.T,
    "sum": lambda x: x.sum(0),
    "in place": lambda x: x.clone().mul_(3),
    "in place through a view": lambda x: _written_through_a_view(x),
    "layer norm": lambda x: nn.functional.layer_norm(x, x.shape[-1:]),
    "complex product": lambda x: torch.complex(x[:2], x[2:]) * 3j,
    "transform": lambda x: torch.fft.rfft(x, 16),
}
EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "transpose": lambda x: x.T,
    "slice": lambda x: x[1:, ::2],
    "stack": lambda x: torch.stack([x[0], x[2]]),
    "cat": lambda x: torch.cat((x, x), 1),
    "gather": lambda x: x[torch.tensor([2, 0])],
    "relu": torch.relu,
    "copy": lambda x: torch.zeros_like(x).copy_(x),
    "where": lambda x: torch.where(x > 0, x, -x),
    "max": lambda x: torch.maximum(x, x.flip(0)),
    "conversion": lambda x: x.float().double(),
    "zeros": lambda x: x.new_zeros(3) + 0,
    "complex parts": lambda x: torch.stack([torch.complex(x, x).real, torch.complex(x, x).conj().imag]),
    "comparison": lambda x: (x > 0).to(x.dtype),
    "arange": lambda x: torch.arange(5),
    "random numbers": lambda x: torch.randn(5, generator=_generator(7)),
}


def _written_through_a_view(x: Tensor) -> Tensor:
    copy = x.clone()
    copy[0].mul_(2)
    return copy


@pytest.mark.parametrize("name", ROUNDING)
def test_what_rounds_gets_noise_of_two_units(name: str) -> None:
    x = _values(4, 6)
    exact = ROUNDING[name](x)
    with NoiseAtEveryOperation(COARSE, _generator()):
        shaken = ROUNDING[name](x)
    change = ((shaken - exact) / exact).abs()
    assert 0.1 * UNIT < float(change.max()) < 8 * UNIT
    assert torch.equal(x, _values(4, 6))


@pytest.mark.parametrize("name", EXACT)
def test_what_copies_or_selects_gets_none(name: str) -> None:
    x = _values(4, 6)
    with NoiseAtEveryOperation(COARSE, _generator()):
        result = EXACT[name](x)
    assert torch.equal(result, EXACT[name](x))


def test_a_write_through_a_view_reaches_that_part_alone() -> None:
    x = _values(4, 6)
    with NoiseAtEveryOperation(COARSE, _generator()):
        written = _written_through_a_view(x)
    assert torch.equal(written[1:], x[1:])
    assert not torch.equal(written[0], 2 * x[0])


def test_the_backward_pass_gets_noise_too() -> None:
    x = _values(5, seed=3).requires_grad_()
    results, found = [], []
    for seed in (0, 1):
        with NoiseAtEveryOperation(COARSE, _generator(seed)):
            y = torch.tanh(x)
            (gradient,) = torch.autograd.grad(y, x, torch.ones_like(x))
        results.append(y.detach())
        found.append(gradient)
    exact = 1 - torch.tanh(x.detach()) ** 2
    assert not torch.equal(*found)
    assert all(float((gradient - exact).abs().max()) < 20 * UNIT for gradient in found)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_noise_of_nothing_changes_nothing(kind: str) -> None:
    module = getattr(nn, kind)(3, 4, 2, bidirectional=True).double()
    x = _values(5, 2, 3)
    with NoiseAtEveryOperation(Arithmetic(0.0, 0.0, 1e30), _generator()):
        shaken = module(x)[0]
    assert torch.equal(shaken, module(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_noise_in_a_module_grows_with_the_unit(kind: str) -> None:
    module, x = getattr(nn, kind)(3, 4, 2).double(), _values(8, 2, 3)
    exact = module(x)[0]
    sizes = []
    for unit in (2.0**-40, 2.0**-20):
        with NoiseAtEveryOperation(Arithmetic(unit, 0.0, 1e30), _generator()):
            sizes.append(float((module(x)[0] - exact).abs().max().detach()))
    assert 0.1 < sizes[0] / 2.0**-40 < 100
    assert 0.5 < sizes[1] / sizes[0] / 2.0**20 < 2
