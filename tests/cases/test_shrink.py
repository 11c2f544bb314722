"""Shrinking: to a case that still fails, is valid, and has no simpler neighbour that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch_contracts import CONTRACTS, EVERYTHING, assert_inside

from rnn_props.cases import BATCHES, Case, Fault, Needs, Source, shrink
from rnn_props.cases.strategies import draw_cases

Fails = Callable[[Case], bool]


def _shrunk(case: Case, fails: Fails, *, name: str = "LSTM", needs: Needs = EVERYTHING, budget: int = 500) -> Case:
    """Run a shrinker to its end; every candidate must be a valid case, and no more than the budget are tried."""
    shrinker = shrink(case, CONTRACTS[name], needs, budget=budget)
    tried = 0
    answer = None
    while True:
        try:
            candidate = shrinker.send(answer)
        except StopIteration as done:
            smallest: Case = done.value
            assert fails(smallest)
            return smallest
        tried += 1
        assert tried <= budget
        assert CONTRACTS[name].broken_constraint(candidate.hyperparameters) is None
        assert all(1 <= split < candidate.seq_len for split in candidate.splits)
        answer = fails(candidate)


LARGE = Case(
    hyperparameters={
        "input_size": 6, "hidden_size": 7, "num_layers": 3, "bias": False, "batch_first": True, "dropout": 0.5,
        "bidirectional": True, "proj_size": 3,
    },
    seq_len=13, batch=5, dtype="float32", parameter_seed=123, parameter_scale=4.0,
    input=Source("tiny", 321, "strided"), state=Source("normal", 77, "offset"), splits=(3, 7, 11), picks=(9, 10, 11),
)  # fmt: skip

#: What is left when nothing matters: the simplest value of every field.
SMALLEST = Case(
    hyperparameters={
        "input_size": 1, "hidden_size": 1, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
        "bidirectional": False, "proj_size": 0,
    },
    seq_len=2, batch=1, input=Source("normal", 0), splits=(1,), picks=(0, 0, 0),
)  # fmt: skip


def _with(**values: Any) -> Case:
    return replace(SMALLEST, hyperparameters={**SMALLEST.hyperparameters, **values})


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        (lambda case: True, SMALLEST),
        (lambda case: case.batch >= 3, replace(SMALLEST, batch=3)),
        (
            lambda case: case.hyperparameters["num_layers"] == 3 and case.hyperparameters["bidirectional"],
            _with(num_layers=3, bidirectional=True),
        ),
        (lambda case: case.hyperparameters["proj_size"] > 0, _with(proj_size=1, hidden_size=2)),
        (lambda case: case.hyperparameters["hidden_size"] >= 5, _with(hidden_size=5)),
        (lambda case: not case.hyperparameters["bias"], _with(bias=False)),
        (lambda case: case.hyperparameters["dropout"] > 0, _with(dropout=0.5)),
        (lambda case: 3 in case.splits, replace(SMALLEST, seq_len=4, splits=(3,))),
        (lambda case: len(case.splits) == 2, replace(SMALLEST, seq_len=3, splits=(1, 2))),
        (lambda case: case.seq_len >= 6, replace(SMALLEST, seq_len=6, splits=(1,))),
        (lambda case: case.state is not None, replace(SMALLEST, state=Source("zeros"))),
        (
            lambda case: case.state is not None and case.state.fill == "normal",
            replace(SMALLEST, state=Source("normal", 0)),
        ),
        (lambda case: case.input.layout == "strided", replace(SMALLEST, input=Source("normal", 0, "strided"))),
        (lambda case: case.input.fill == "tiny", replace(SMALLEST, input=Source("tiny", 0))),
        (lambda case: case.dtype == "float32", replace(SMALLEST, dtype="float32")),
        (lambda case: case.parameter_scale > 1, replace(SMALLEST, parameter_scale=4.0)),
        (lambda case: case.picks[1] >= 2, replace(SMALLEST, picks=(0, 2, 0))),
        (lambda case: case.batch >= 2 and case.seq_len > case.batch, replace(SMALLEST, batch=2, seq_len=3)),
    ],
    ids=[
        "anything", "batch", "layers and directions", "projection", "hidden", "bias", "dropout", "split at 3",
        "two splits", "length", "state", "random state", "layout", "fill", "dtype", "scale", "pick", "two sizes",
    ],
)  # fmt: skip
def test_a_case_shrinks_to_the_smallest_one_that_fails(fails: Fails, expected: Case) -> None:
    assert _shrunk(LARGE, fails) == expected


@pytest.mark.parametrize("seed", range(4))
def test_a_shrunk_case_is_valid_shrinks_to_itself_and_has_no_simpler_value_anywhere(seed: int) -> None:
    predicates: list[Fails] = [
        lambda case: case.batch * case.seq_len >= 6,
        lambda case: case.hyperparameters["hidden_size"] > case.hyperparameters["proj_size"] + 1,
        lambda case: case.hyperparameters["input_size"] * case.seq_len % 3 == 0,
        lambda case: case.parameter_seed % 2 == 1 or case.state is not None,
        lambda case: sum(case.splits) >= 4 or not case.batched,
    ]
    for case in draw_cases(CONTRACTS["LSTM"], EVERYTHING, seed=seed, count=12):
        for fails in filter(lambda fails: fails(case), predicates):
            smallest = _shrunk(case, fails, budget=2000)
            assert_inside(smallest, CONTRACTS["LSTM"], EVERYTHING)
            assert _shrunk(smallest, fails, budget=2000) == smallest
            for name, value in smallest.hyperparameters.items():
                values = CONTRACTS["LSTM"].hyperparameters[name].values
                for simpler in values[max(values.index(value) - 1, 0) : values.index(value)]:
                    candidate = replace(smallest, hyperparameters={**smallest.hyperparameters, name: simpler})
                    assert CONTRACTS["LSTM"].broken_constraint(candidate.hyperparameters) or not fails(candidate)
            if smallest.batched and smallest.batch > 1:
                assert not fails(replace(smallest, batch=BATCHES[BATCHES.index(smallest.batch) - 1]))


def test_a_case_that_only_fails_as_it_is_stays_as_it_is() -> None:
    assert _shrunk(LARGE, lambda case: case == LARGE) == LARGE


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_no_more_candidates_are_tried_than_the_budget_allows(budget: int) -> None:
    smallest = _shrunk(LARGE, lambda case: case.batch >= 3, budget=budget)
    assert (smallest == LARGE) == (budget == 0)


def test_the_usual_budget_is_enough_for_a_case_of_which_one_thing_matters() -> None:
    assert _shrunk(LARGE, lambda case: case.batch >= 3, budget=150) == replace(SMALLEST, batch=3)


def test_no_candidate_is_tried_twice() -> None:
    shrinker = shrink(LARGE, CONTRACTS["LSTM"], EVERYTHING, budget=500)
    seen = [next(shrinker)]
    with contextlib.suppress(StopIteration):
        while True:
            seen.append(shrinker.send(seen[-1].seq_len >= 5))
    assert len(seen) > 10
    identifiers = [case.case_id for case in seen]
    assert len(set(identifiers)) == len(identifiers)
    assert LARGE.case_id not in identifiers


def test_shrinking_keeps_the_fault_and_what_the_check_needs() -> None:
    case = replace(LARGE, fault=Fault("state.batch_one", leaf=1), splits=())
    needs = Needs(states=("random",), lengths=(2, 3, 13), roles={"bidirectional": (True,)}, picks=3)
    smallest = _shrunk(case, lambda case: case.state is not None, needs=needs)
    assert smallest.fault == case.fault
    assert smallest.hyperparameters["bidirectional"] is True
    assert (smallest.seq_len, smallest.state) == (2, Source("normal", 0))


def test_a_case_that_needs_splits_keeps_one() -> None:
    assert _shrunk(LARGE, lambda case: True).splits == (1,)


def test_single_values_shrink_to_ordinary_ones_where_they_do_not_matter() -> None:
    case = replace(LARGE, input=Source("values", 5, "strided", (1.0, 2.0)))
    assert _shrunk(case, lambda case: True).input == Source("normal", 0)
