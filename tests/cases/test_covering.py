"""Covering pairs: every pair of values of two dimensions stands together in the table."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import strategies as st
from torch_contracts import CONTRACTS, EVERYTHING, NAMES, assert_inside

from rnn_props.cases import Case, Needs, Space, covering_cases
from rnn_props.contracts import Contract, choices, integers

ALL = 10**6
#: The values that the table covers of dimensions with more than it can cover.
_SIZES = {1, 2, 4, 7}
_LENGTHS, _BATCHES = {1, 2, 5, 13}, {1, 2, 3, 4}


def _values(space: Space) -> dict[str, set[Any]]:
    """What should be covered of each dimension; the sizes that are equal on purpose are a matter of their own."""
    values = {name: set(found) for name, found in space.dimensions.items() if name != "coincidence"}
    values |= {name: _SIZES for name in ("hp:input_size", "hp:hidden_size") if name in values}
    if len(values["T"]) > 1:
        values["T"] &= _LENGTHS
    values["B"] &= _BATCHES
    return values


def _features(case: Case) -> dict[str, Any]:
    """The place of a case in each dimension, read off the case."""
    found: dict[str, Any] = {f"hp:{name}": value for name, value in case.hyperparameters.items()}
    found |= {"T": case.seq_len, "B": case.batch, "batched": case.batched, "dtype": case.dtype}
    found |= {"fill": case.input.fill, "layout": case.input.layout, "scale": case.parameter_scale, "rows": "full"}
    found["state"] = "none" if case.state is None else "zeros" if case.state.fill == "zeros" else "random"
    if case.state is not None:
        found["state_layout"] = case.state.layout
    return found


def _possible(pair: dict[str, Any], contract: Contract) -> bool:
    """Whether a case can have both values."""
    known = {name[3:]: value for name, value in pair.items() if name.startswith("hp:")}
    if contract.broken_constraint(known) is not None:
        return False
    if pair.get("batched") is False and pair.get("B", 1) != 1:
        return False
    return not (pair.get("state") == "none" and "state_layout" in pair)


@pytest.mark.parametrize("needs", [Needs(), EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("name", NAMES)
def test_every_pair_of_values_that_a_case_can_have_stands_in_the_table(name: str, needs: Needs) -> None:
    contract = CONTRACTS[name]
    space = Space.of(contract, needs)
    table = [_features(case) for case in covering_cases(space, 0, ALL)]
    there = {frozenset(pair) for row in table for pair in combinations(row.items(), 2)}
    missing = [
        {one: first, two: second}
        for (one, some), (two, others) in combinations(_values(space).items(), 2)
        for first in some
        for second in others
        if _possible({one: first, two: second}, contract) and frozenset([(one, first), (two, second)]) not in there
    ]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_far_smaller_than_the_product_and_has_valid_cases_alone(name: str) -> None:
    table = covering_cases(Space.of(CONTRACTS[name], EVERYTHING), 3, ALL)
    assert 20 <= len(table) <= 80
    for case in table:
        assert_inside(case, CONTRACTS[name], EVERYTHING)


def test_the_same_seed_gives_the_same_table_and_another_seed_other_seeds_in_it() -> None:
    space = Space.of(CONTRACTS["LSTM"], Needs())
    one, two, other = (covering_cases(space, seed, ALL) for seed in (0, 0, 1))
    assert one == two
    assert [case.hyperparameters for case in other] == [case.hyperparameters for case in one]
    assert [case.parameter_seed for case in other] != [case.parameter_seed for case in one]


@pytest.mark.parametrize("limit", [0, 1, 14])
def test_a_limited_table_is_the_beginning_of_the_whole_one(limit: int) -> None:
    space = Space.of(CONTRACTS["GRU"], Needs())
    assert covering_cases(space, 0, limit) == covering_cases(space, 0, ALL)[:limit]


def test_sizes_are_equal_on_purpose_in_some_rows_and_not_in_most() -> None:
    table = covering_cases(Space.of(CONTRACTS["GRU"], Needs()), 0, ALL)
    coincident = [
        case for case in table if case.batch == case.seq_len or case.batch == case.hyperparameters["hidden_size"]
    ]
    assert 5 <= len(coincident) < len(table) / 2


def test_a_hyperparameter_drawn_by_the_users_own_strategy_cannot_be_tabled() -> None:
    contract = Contract(hyperparameters={"hidden_size": st.sampled_from([2, 4])})
    assert covering_cases(Space.of(contract, Needs()), 0, ALL) == []


def test_needs_that_no_case_meets_give_no_table() -> None:
    needs = Needs(roles={"num_layers": (9,)})
    assert covering_cases(Space.of(CONTRACTS["LSTM"], needs), 0, ALL) == []


def test_constraints_that_depend_on_equal_sizes_hold_in_every_row() -> None:
    contract = Contract(
        hyperparameters={"input_size": integers(1, 7), "hidden_size": integers(1, 7), "mode": choices("a", "b")},
        roles={"input_size": "input_size", "hidden_size": "hidden_size"},
        constraints=("input_size < hidden_size",),
        output="T B H",
    )
    table = covering_cases(Space.of(contract, Needs()), 0, ALL)
    assert table
    for case in table:
        assert case.hyperparameters["input_size"] < case.hyperparameters["hidden_size"]
