"""The typical error: noise of a few units shows in it, and what says nothing about digits is let be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_props.numerics import ARITHMETIC, GRADIENT, Excess, Sensitivity, agreement, excess
from rnn_props.numerics.excess import ENOUGH, EXCESS

UNIT = ARITHMETIC[torch.float32].unit


def _reference(
    *, count: int = ENOUGH, dtype: torch.dtype = torch.float32, factor: float = 1.0, terms: int = 1, **results: Any
) -> Sensitivity:
    """The sensitivity of functions of `count` numbers, each the tanh of two of them by default."""
    module = nn.ParameterList([torch.linspace(0.5, 1, terms, dtype=torch.float64)])
    inputs = torch.linspace(0.2, 0.9, count, dtype=torch.float64)

    def run(inputs: Tensor, state: Any) -> Mapping[str, Tensor]:
        made = results or {"output": lambda x: torch.tanh(x * (1 + x))}
        return {name: result(inputs) for name, result in made.items()}

    return Sensitivity(module, run, inputs, None, arithmetic=ARITHMETIC[dtype], factor=factor)


def _with_noise(reference: Sensitivity, units: float) -> dict[str, Tensor]:
    """The reference's results with noise of some units in the last place."""
    generator = torch.Generator().manual_seed(0)

    def shaken(leaf: Tensor) -> Tensor:
        drawn = torch.rand(leaf.shape, generator=generator, dtype=leaf.dtype) * 2 - 1
        return leaf * (1 + units * 2 * reference.arithmetic.unit * drawn)

    return {name: shaken(leaf) for name, leaf in reference.values.items()}


def _excess(reference: Sensitivity, units: float) -> Excess | None:
    results = _with_noise(reference, units)
    return excess(results, reference, agreement(results, reference))


@pytest.mark.parametrize(("units", "seen"), [(0, False), (1, False), (8, True), (32, True)])
def test_noise_of_some_units_is_more_than_rounding_gives(units: float, seen: bool) -> None:
    found = _excess(_reference(), units)
    assert (found is not None) == seen
    if found is not None:
        assert found.name == "output"
        assert found.factor == found.error / found.explained > EXCESS
        assert 0.3 < found.error / (units * UNIT) < 3


def test_a_run_in_float32_is_not() -> None:
    reference = _reference(count=200)
    x = torch.linspace(0.2, 0.9, 200, dtype=torch.float64).float()
    results = {"output": torch.tanh(x * (1 + x))}
    assert excess(results, reference, agreement(results, reference)) is None


def test_of_few_elements_nothing_is_said_and_zeros_do_not_count() -> None:
    assert _excess(_reference(count=ENOUGH - 1), 32) is None
    assert _excess(_reference(count=ENOUGH, output=lambda x: torch.where(x > 0.3, x, 0.0)), 32) is None


def test_gradients_are_judged_by_their_largest_error_alone() -> None:
    assert _excess(_reference(**{f"{GRADIENT}input": torch.tanh}), 32) is None


def test_what_is_off_by_more_than_the_last_digits_is_another_matter() -> None:
    assert _excess(_reference(), 2000) is None
    assert _excess(_reference(dtype=torch.float16), 8) is None


def test_a_jump_that_rounding_makes_now_and_then_is_no_loss_of_digits() -> None:
    """A small step just above a value: noise passes it in one run of eight, and so may rounding."""
    reference = _reference(output=lambda x: x + 0.01 * (x[0] > 0.2 * (1 + 1.5 * UNIT)))
    results = {"output": reference.values["output"] + 0.01}
    found = agreement(results, reference)
    assert [item.verdict for item in found.comparisons] == ["explained"]
    assert reference.typical("output", 16) < 0.01 / EXCESS
    assert excess(results, reference, found) is None


def test_of_results_outside_of_the_bound_and_of_those_that_are_not_there_nothing_is_said() -> None:
    reference = _reference(a=torch.tanh, b=torch.tanh)
    results: dict[str, Tensor | None] = {"a": reference.values["a"] + 1.0, "b": None}
    found = agreement(results, reference)
    assert [item.verdict for item in found.comparisons] == ["outside", "outside"]
    assert excess(results, reference, found) is None


def test_the_worst_result_is_told() -> None:
    reference = _reference(a=torch.tanh, b=torch.tanh)
    results = {"a": _with_noise(reference, 8)["a"], "b": _with_noise(reference, 32)["b"]}
    found = excess(results, reference, agreement(results, reference))
    assert found is not None
    assert found.name == "b"


def test_noise_at_every_operation_explains_a_formula_that_loses_digits() -> None:
    """What goes in explains one unit of it, and the sum with 64 sixty-four."""
    reference = _reference(output=lambda x: (x + 64) - 64)
    x = torch.linspace(0.2, 0.9, ENOUGH, dtype=torch.float64).float()
    results = {"output": (x + 64) - 64}
    error = float((results["output"].double() - reference.values["output"]).abs().max())
    assert error > 16 * UNIT
    assert excess(results, reference, agreement(results, reference)) is None


def test_a_contract_that_allows_more_and_longer_sums_have_a_wider_limit() -> None:
    assert _excess(_reference(), 8) is not None
    assert _excess(_reference(factor=10.0), 8) is None
    assert _excess(_reference(terms=32), 8) is not None
    assert _excess(_reference(terms=6400), 8) is None
