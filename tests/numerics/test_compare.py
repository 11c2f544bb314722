"""Differences: what they name, and how large they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnn_props.contracts import ShapeRule, parse_structure
from rnn_props.numerics import UNIT_ROUNDOFF, Difference, difference, largest

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


def _tensor(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(SHAPES, st.integers(0, 99), st.data())
def test_the_worst_element_is_the_one_that_is_named(shape: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    expected = _tensor(shape, seed)
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    actual = expected + 1e-3 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    actual[place] += 5
    gap = difference(actual, expected, "output", ShapeRule.parse(" ".join("TBH"[: len(shape)])))
    assert gap is not None
    inside = ", ".join(f"{letter}={index}" for letter, index in zip("TBH", place, strict=False))
    where = f"output[{inside}]" if shape else "output"
    wanted, got = float(expected[place]), float(actual[place])
    assert gap.message == f"{where}: expected {wanted:.9g}, got {got:.9g}"
    assert (gap.expected, gap.actual) == (f"{wanted:.9g}", f"{got:.9g}")
    assert gap.size == abs(got - wanted)


@given(SHAPES, st.integers(0, 99))
def test_what_is_equal_to_the_bit_has_no_difference(shape: tuple[int, ...], seed: int) -> None:
    tensor = _tensor(shape, seed)
    assert difference(tensor, tensor.clone(), "x") is None
    assert difference((tensor, [tensor], {"h": tensor}, None), (tensor, [tensor], {"h": tensor}, None), "x") is None


@given(SHAPES, st.integers(0, 99))
def test_one_unit_in_the_last_place_is_a_difference(shape: tuple[int, ...], seed: int) -> None:
    tensor = _tensor(shape, seed)
    gap = difference(torch.nextafter(tensor, torch.full_like(tensor, math.inf)), tensor, "x")
    assert gap is not None
    assert 0 < gap.size < 1e-14


def test_two_numbers_that_differ_late_are_written_out_to_where_they_differ() -> None:
    gap = difference(torch.tensor(0.5).double() + 2.0**-50, torch.tensor(0.5).double(), "x")
    assert gap is not None
    assert gap.message == "x: expected 0.5, got 0.50000000000000089"


def test_an_element_is_named_by_the_letters_of_its_rule_and_by_numbers_without_one() -> None:
    expected = torch.zeros(2, 3)
    actual = expected.clone()
    actual[1, 2] = 4.0
    named = difference(actual, expected, "state c", ShapeRule.parse("L*D H"))
    assert named is not None
    assert named.message == "state c[L*D=1, H=2]: expected 0, got 4"
    for rule in (None, ShapeRule.parse("L*D B H")):
        plain = difference(actual, expected, "state c", rule)
        assert plain is not None
        assert plain.message == "state c[1, 2]: expected 0, got 4"


def test_the_worst_leaf_of_a_tree_is_named() -> None:
    expected = (torch.zeros(1, 2), torch.zeros(1, 2))
    actual = (torch.tensor([[0.0, 1.0]]), torch.tensor([[-3.0, 0.0]]))
    gap = difference(actual, expected, "state", parse_structure(("B H", "B H")))
    assert gap == Difference("state c[B=0, H=0]: expected 0, got -3", "0", "-3", 3.0)
    assert gap.message == "state c[B=0, H=0]: expected 0, got -3"


@pytest.mark.parametrize(
    ("expected", "actual", "name"),
    [
        ([torch.zeros(1)] * 3, [torch.zeros(1), torch.ones(1), torch.zeros(1)], "x[1][0]"),
        ({"h": torch.zeros(1)}, {"h": torch.ones(1)}, "x['h'][0]"),
        ({"a": (torch.zeros(1),)}, {"a": (torch.ones(1),)}, "x['a'][0][0]"),
    ],
)
def test_a_leaf_is_named_by_its_path(expected: Any, actual: Any, name: str) -> None:
    gap = difference(actual, expected, "x")
    assert gap is not None
    assert gap.message == f"{name}: expected 0, got 1"


@pytest.mark.parametrize(
    ("expected", "actual", "text"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), "x: expected shape (2, 3), got shape (3, 2)"),
        (torch.zeros(2), (torch.zeros(2),), "x: expected a tensor of shape (2,), got a tuple of 1"),
        ((torch.zeros(2),), (torch.zeros(2),) * 2, "x: expected a tuple of 1, got a tuple of 2"),
        ({"h": torch.zeros(1)}, {"c": torch.zeros(1)}, "x: expected a dict of 1, got a dict of 1"),
        (None, torch.zeros(2), "x: expected None, got a tensor of shape (2,)"),
        (torch.zeros(2), None, "x: expected a tensor of shape (2,), got None"),
    ],
)
def test_a_difference_in_structure_is_infinite_and_said_as_such(expected: Any, actual: Any, text: str) -> None:
    gap = difference(actual, expected, "x")
    assert gap is not None
    assert (gap.message, gap.size) == (text, math.inf)


def test_a_list_and_a_tuple_of_the_same_tensors_do_not_differ() -> None:
    assert difference([torch.zeros(1)], (torch.zeros(1),), "x") is None


def test_a_structural_difference_outweighs_any_number() -> None:
    gap = difference((torch.tensor([1e30]), torch.zeros(2)), (torch.zeros(1), torch.zeros(3)), "x")
    assert gap is not None
    assert gap.message == "x[1]: expected shape (3,), got shape (2,)"


def test_the_same_nan_and_infinity_in_the_same_place_are_no_difference() -> None:
    values = torch.tensor([math.nan, math.inf, -math.inf, 1.0])
    assert difference(values.clone(), values, "x") is None
    off = values.clone()
    off[3] = 1.5
    gap = difference(off, values, "x")
    assert gap is not None
    assert (gap.message, gap.size) == ("x[3]: expected 1, got 1.5", 0.5)


@pytest.mark.parametrize(
    ("expected", "actual"), [(0.0, math.nan), (math.nan, 0.0), (1.0, math.inf), (math.inf, -math.inf)]
)
def test_a_number_that_is_not_finite_on_one_side_alone_is_infinitely_far(expected: float, actual: float) -> None:
    gap = difference(torch.tensor([9.0, actual]), torch.tensor([0.0, expected]), "x")
    assert gap is not None
    assert gap.size == math.inf
    assert gap.message == f"x[1]: expected {expected:.9g}, got {actual:.9g}"


def test_empty_tensors_of_one_shape_are_equal_and_of_two_are_not() -> None:
    assert difference(torch.zeros(0, 3), torch.zeros(0, 3), "x") is None
    assert difference(torch.zeros(0, 3), torch.zeros(0, 4), "x") is not None


def test_values_are_compared_across_dtypes_without_loss() -> None:
    exact = torch.tensor([1 / 3], dtype=torch.float64)
    assert difference(exact.float(), exact, "x") is not None
    assert difference(exact.float(), exact.float().double(), "x") is None


def test_the_largest_magnitude_leaves_out_what_is_not_finite() -> None:
    assert largest((torch.tensor([1.0, -7.0]), {"h": torch.tensor([math.inf, math.nan, 2.0])}, None)) == 7.0
    assert largest(torch.zeros(0)) == 0.0
    assert largest(None) == 0.0


@pytest.mark.parametrize("dtype", list(UNIT_ROUNDOFF))
def test_the_unit_roundoff_is_half_of_torchs_epsilon(dtype: torch.dtype) -> None:
    assert UNIT_ROUNDOFF[dtype] == torch.finfo(dtype).eps / 2
