"""Slopes by finite differences: right where there is a derivative, silent where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rnn_props.numerics.derivatives import STEPS, Slope, contradiction, jumps, slope

UNIT = 2.0**-53
ROUNDING = 64 * UNIT
Line = Callable[[float], float]


def _contradiction(line: Line, claimed: float) -> Slope | None:
    return contradiction(line, claimed, unit=UNIT, scale=max(abs(line(0.0)), 1.0), slack=0.0)


SMOOTH: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "sine": (math.sin, math.cos),
    "exponential": (math.exp, math.exp),
    "tanh of twenty": (lambda x: math.tanh(20 * x), lambda x: 20 / math.cosh(20 * x) ** 2),
    "a polynomial": (lambda x: 1e3 * x**5 - x**2 + 7, lambda x: 5e3 * x**4 - 2 * x),
    "a line": (lambda x: 3 * x + 1e4, lambda x: 3.0),
    "a constant": (lambda x: 5.0, lambda x: 0.0),
}


@pytest.mark.parametrize("name", SMOOTH)
@settings(max_examples=40, deadline=None)
@given(at=st.floats(-1, 1))
def test_the_derivative_of_a_smooth_line_is_not_contradicted(name: str, at: float) -> None:
    function, derivative = SMOOTH[name]

    def line(step: float) -> float:
        return function(at + step)

    assert _contradiction(line, derivative(at)) is None
    for step in STEPS:
        found = slope(line, step, 64 * UNIT * max(abs(line(0.0)), 1.0))
        assert abs(found.value - derivative(at)) <= found.error


@pytest.mark.parametrize("name", ["sine", "exponential", "tanh of twenty", "a polynomial", "a line"])
@settings(max_examples=40, deadline=None)
@given(at=st.floats(-1, 1), wrong=st.sampled_from([0.0, -1.0, 100.0, 1.001]))
def test_a_slope_that_is_wrong_by_a_thousandth_is_contradicted(name: str, at: float, wrong: float) -> None:
    function, derivative = SMOOTH[name]
    assume(abs(derivative(at)) > 0.1)

    def line(step: float) -> float:
        return function(at + step)

    found = _contradiction(line, wrong * derivative(at))
    assert found is not None
    assert found.value == pytest.approx(derivative(at), rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(claimed=st.floats(0, 1))
def test_at_a_kink_any_slope_between_the_two_sides_stands(claimed: float) -> None:
    assert _contradiction(lambda x: max(x, 0.0), claimed) is None


@settings(max_examples=40, deadline=None)
@given(distance=st.floats(1e-7, 1e-3), side=st.sampled_from([-1.0, 1.0]))
def test_a_kink_near_the_point_contradicts_nothing(distance: float, side: float) -> None:
    kink = side * distance
    assert _contradiction(lambda x: max(x - kink, 0.0), 1.0 if kink < 0 else 0.0) is None


def test_at_a_kink_a_slope_beyond_both_sides_is_contradicted() -> None:
    assert _contradiction(lambda x: max(x, 0.0), 2.0) is not None


def test_a_line_that_jumps_is_told_from_a_steep_one() -> None:
    assert jumps(lambda x: float(x > 0.37), ROUNDING)
    assert jumps(lambda x: math.sin(x) + 0.01 * math.floor(x / 0.1), ROUNDING)
    assert jumps(lambda x: float(round(8 * x)), ROUNDING)
    assert not jumps(lambda x: math.tanh(1e4 * x), ROUNDING)
    assert not jumps(abs, ROUNDING)
    assert not jumps(lambda x: 1.0, ROUNDING)


def test_the_last_digit_of_a_saturated_line_does_not_jump() -> None:
    assert not jumps(lambda x: math.tanh(20 * x), ROUNDING)
    assert _contradiction(lambda x: math.tanh(20 * x), 0.0) is not None


def test_a_surrogate_gradient_of_a_line_that_jumps_is_not_contradicted() -> None:
    assert _contradiction(lambda x: float(x > 0.5), 0.3) is None


def test_what_is_not_finite_contradicts_nothing() -> None:
    assert _contradiction(lambda x: math.nan, 1.0) is None
    assert not jumps(lambda x: math.inf if x > 0 else 0.0, ROUNDING)
