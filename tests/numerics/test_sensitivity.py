"""The bound by sensitivity: correct runs stay inside, wrong ones fall outside, and chaos is said to be chaos."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.numerics import Bound, difference, perturbed, sensitivity_bound


def _run_of(module: nn.Module) -> Any:
    def run(inputs: Tensor, state: Any) -> Any:
        with torch.no_grad():
            return list(module(inputs, state))

    return run


def _example(kind: str, seed: int, *, steps: int = 6, hidden: int = 5, gain: float = 1.0) -> tuple[nn.Module, Tensor]:
    """A float64 module and an input, both exact in float32."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = getattr(nn, kind)(3, hidden, num_layers=2)
        inputs = torch.randn(steps, 4, 3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(gain)
    return module, inputs


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), gain=st.sampled_from([0.3, 1.0, 2.0]), steps=st.integers(1, 20))
def test_a_correct_run_in_float32_stays_inside_the_bound(kind: str, seed: int, gain: float, steps: int) -> None:
    module, inputs = _example(kind, seed, steps=steps, gain=gain)
    single = _run_of(module)(inputs, None)
    exact = module.double()
    reference = _run_of(exact)(inputs.double(), None)
    bound = sensitivity_bound(exact, _run_of(exact), inputs.double(), None, dtype=torch.float32)
    gap = difference(single, reference, "")
    assert bound.ill_conditioned or gap is None or gap.size <= bound.allowed


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_relative_error_of_a_millionth_falls_outside_in_float64(kind: str, seed: int) -> None:
    module, inputs = _example(kind, seed)
    module = module.double()
    reference = _run_of(module)(inputs.double(), None)
    bound = sensitivity_bound(module, _run_of(module), inputs.double(), None, dtype=torch.float64)
    assert not bound.ill_conditioned
    gap = difference(reference[0] * (1 + 1e-6), reference[0], "")
    assert gap is not None
    assert gap.size > 1e6 * bound.allowed
    rounding = difference(reference[0] * (1 + 2.0**-52), reference[0], "")
    assert rounding is None or rounding.size <= bound.allowed


def test_a_float32_bound_is_as_wide_as_float32_rounds_and_no_wider() -> None:
    module, inputs = _example("LSTM", 0)
    module = module.double()
    bounds = {
        dtype: sensitivity_bound(module, _run_of(module), inputs.double(), None, dtype=dtype)
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    }
    assert 0 < bounds[torch.float64].allowed < 1e-13
    assert 1e-8 < bounds[torch.float32].allowed < 1e-4
    assert bounds[torch.bfloat16].allowed > 1e-2


def test_a_chaotic_rnn_is_ill_conditioned_and_a_tame_one_is_not() -> None:
    for gain, expected in ((8.0, True), (0.5, False)):
        module, inputs = _example("RNN", 1, steps=64, hidden=64, gain=gain)
        module = module.double()
        bound = sensitivity_bound(module, _run_of(module), inputs.double(), None, dtype=torch.float32)
        assert bound.ill_conditioned is expected, bound


def test_results_that_are_not_finite_are_ill_conditioned() -> None:
    assert Bound(float("inf"), 1.0, 2.0**-24).ill_conditioned
    assert Bound(float("nan"), 1.0, 2.0**-24).ill_conditioned


@pytest.mark.parametrize(("sensitivity", "ill"), [(0.0, False), (0.015, False), (0.016, True)])
def test_a_bound_is_worth_something_up_to_a_quarter_of_the_results(sensitivity: float, ill: bool) -> None:
    bound = Bound(sensitivity, 1.0, 2.0**-24)
    assert bound.allowed == 16 * sensitivity + 4 * 2.0**-24
    assert bound.ill_conditioned is ill


def test_results_that_are_all_zero_are_not_ill_conditioned() -> None:
    assert not Bound(0.0, 0.0, 2.0**-53).ill_conditioned


def test_the_same_seed_measures_the_same_bound() -> None:
    module, inputs = _example("GRU", 3)
    module = module.double()
    measure = [
        sensitivity_bound(module, _run_of(module), inputs.double(), None, dtype=torch.float32, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert measure[0] == measure[1]
    assert measure[0] != measure[2]


def test_parameters_input_and_state_are_as_before_to_the_bit() -> None:
    module, inputs = _example("LSTM", 4)
    module = module.double()
    state = (torch.randn(2, 4, 5).double(), torch.randn(2, 4, 5).double())
    kept = [tensor.detach().clone() for tensor in (*module.parameters(), inputs, *state)]
    sensitivity_bound(module, _run_of(module), inputs.double(), state, dtype=torch.float32)
    now = [*module.parameters(), inputs, *state]
    assert all(torch.equal(one, two) for one, two in zip(now, kept, strict=True))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())


def test_parameters_are_put_back_when_a_run_raises() -> None:
    module, inputs = _example("GRU", 5)
    kept = [parameter.detach().clone() for parameter in module.parameters()]
    runs = 0

    def run(given_input: Tensor, state: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs == 3:
            raise RuntimeError("the third run fails")
        return _run_of(module)(given_input, state)

    with pytest.raises(RuntimeError, match="the third run fails"):
        sensitivity_bound(module, run, inputs, None, dtype=torch.float32)
    assert all(torch.equal(one, two) for one, two in zip(module.parameters(), kept, strict=True))


@given(st.sampled_from([2.0**-53, 2.0**-24, 2.0**-8]), st.integers(0, 99))
def test_noise_is_relative_and_at_most_two_units(unit: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(50, dtype=torch.float64, generator=generator)
    values[0] = 0.0
    shaken = perturbed(values, unit, generator)
    assert shaken[0] == 0
    assert bool(((shaken - values).abs() <= 2 * unit * values.abs() * (1 + 1e-9) + 2.0**-52 * values.abs()).all())
    assert not torch.equal(shaken, values)


def test_integers_are_not_shaken() -> None:
    values = torch.arange(5)
    assert perturbed(values, 0.5, torch.Generator()) is values
    assert perturbed(None, 0.5, torch.Generator()) is None


def test_a_factor_makes_the_bound_wider_and_no_result_ill_conditioned() -> None:
    plain, wide = Bound(1e-3, 1.0, 2.0**-24), Bound(1e-3, 1.0, 2.0**-24, factor=100.0)
    assert wide.allowed == 100 * plain.allowed
    assert not wide.ill_conditioned
