"""Drawing cases: they are valid, they are the same everywhere, and a strategy of the user's may stand anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from torch_contracts import ALL_CASES, CONTRACTS, EVERYTHING, NAMES, PLAIN_CASES, assert_inside, build

from rnn_props.cases import Case, Needs, Source, judge, make_call
from rnn_props.cases.strategies import cases, devices, draw_cases, dtypes, elements, hyperparameters
from rnn_props.contracts import Contract, integers
from rnn_props.subjects import kept_clean

_EXAMPLES = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_a_drawn_case_is_one_of_the_space_and_valid(name: str, data: st.DataObject) -> None:
    case = data.draw(ALL_CASES[name])
    assert_inside(case, CONTRACTS[name], EVERYTHING)
    assert case.splits or case.seq_len == 1
    assert judge(make_call(case, CONTRACTS[name]), CONTRACTS[name], case.dtype).kind == "valid"


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_torch_takes_every_drawn_case(name: str, data: st.DataObject) -> None:
    case = data.draw(PLAIN_CASES[name])
    call = make_call(case, CONTRACTS[name])
    with kept_clean(), torch.no_grad():
        module = build(name, case.hyperparameters).double()
        module(call.input, *(() if call.state is None else (call.state,)))


@_EXAMPLES
@given(hyperparameters(CONTRACTS["LSTM"]))
def test_drawn_hyperparameters_meet_the_constraints(values: dict[str, Any]) -> None:
    assert values["proj_size"] < values["hidden_size"]
    assert set(values) == set(CONTRACTS["LSTM"].hyperparameters)


DRAWN = draw_cases(CONTRACTS["LSTM"], Needs(), seed=0, count=400)


def test_single_values_are_drawn_now_and_then() -> None:
    share = sum(case.input.fill == "values" for case in DRAWN) / len(DRAWN)
    assert 0.01 < share < 0.25


@pytest.mark.parametrize(
    "wanted",
    [
        lambda case: case.batch == case.seq_len > 1,
        lambda case: case.batch == case.hyperparameters["hidden_size"] > 1,
        lambda case: case.seq_len == case.hyperparameters["hidden_size"] > 1,
        lambda case: case.hyperparameters["input_size"] == case.hyperparameters["hidden_size"] > 1,
        lambda case: case.batch == 2 * case.hyperparameters["num_layers"] and case.hyperparameters["bidirectional"],
        lambda case: case.input.fill == "values",
        lambda case: case.state is None and case.seq_len == 13,
    ],
    ids=["B=T", "B=H", "T=H", "I=H", "B=L*D", "single values", "long without state"],
)
def test_what_should_be_drawn_is_drawn(wanted: Any) -> None:
    assert any(wanted(case) for case in DRAWN)


def test_a_replacement_stands_for_ours_and_equal_sizes_leave_it_alone() -> None:
    replaced = {"T": st.just(7), "B": st.sampled_from([4, 11]), "hp:input_size": st.just(40), "fill": st.just("tiny")}
    drawn: list[Case] = []

    @settings(max_examples=150, deadline=None, database=None)
    @given(cases(CONTRACTS["LSTM"], replace=replaced))
    def collect(case: Case) -> None:
        drawn.append(case)

    collect()
    assert {case.seq_len for case in drawn} == {7}
    assert {case.batch for case in drawn} == {4, 11}
    assert {case.hyperparameters["input_size"] for case in drawn} == {40}
    assert {case.input.fill for case in drawn} <= {"tiny", "values"}


def test_a_replaced_dtype_may_be_a_strategy_of_hypothesis_torch() -> None:
    drawn = find(cases(CONTRACTS["GRU"], replace={"dtype": dtypes(("bfloat16",))}), lambda case: True)
    assert drawn.dtype == "bfloat16"


def test_a_replacement_that_breaks_a_constraint_is_not_drawn() -> None:
    replaced = {"hp:proj_size": st.sampled_from([2, 50])}

    @settings(max_examples=40, deadline=None, database=None)
    @given(cases(CONTRACTS["LSTM"], replace=replaced))
    def check(case: Case) -> None:
        assert case.hyperparameters["proj_size"] == 2
        assert case.hyperparameters["hidden_size"] > 2

    check()


def test_a_replacement_for_a_dimension_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="there is no dimension 'length' to replace; there are ") as caught:
        cases(CONTRACTS["GRUCell"], replace={"length": st.just(3)})
    for name in ("hp:hidden_size", "T", "B", "fill", "dtype"):
        assert name in str(caught.value)


def test_needs_that_no_case_meets_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^no case meets the needs: hp:num_layers has no value left$"):
        cases(CONTRACTS["LSTM"], Needs(roles={"num_layers": (9,)}))


def test_a_strategy_of_the_users_may_stand_for_a_domain() -> None:
    contract = Contract(
        hyperparameters={
            "input_size": integers(1, 3),
            "hidden_size": st.integers(1, 9).map(lambda number: 8 * number),
            "act": st.sampled_from(["silu", "gelu"]),
        },
        roles={"input_size": "input_size", "hidden_size": "hidden_size"},
        output="T B H",
    )

    @settings(max_examples=50, deadline=None, database=None)
    @given(cases(contract))
    def check(case: Case) -> None:
        assert case.hyperparameters["hidden_size"] % 8 == 0
        assert case.hyperparameters["act"] in ("silu", "gelu")
        assert make_call(case, contract).input.shape[-1] == case.hyperparameters["input_size"]

    check()
    assert len(draw_cases(contract, Needs(), seed=0, count=30)) == 30


def test_dtypes_and_devices_come_from_hypothesis_torch_and_are_those_that_were_named() -> None:
    found: set[Any] = set()

    @settings(max_examples=60, deadline=None, database=None)
    @given(dtypes(("float64", "bfloat16")), devices(("cpu", "meta")))
    def collect(dtype: torch.dtype, device: torch.device) -> None:
        found.update([dtype, device])

    collect()
    assert found == {torch.float64, torch.bfloat16, torch.device("cpu"), torch.device("meta")}
    assert find(dtypes(("float64", "bfloat16")), lambda dtype: True) == torch.float64


@settings(deadline=None, max_examples=40)
@given(elements(8))
def test_single_values_are_finite_and_make_a_source(values: tuple[float, ...]) -> None:
    assert len(values) == 8
    assert all(abs(value) <= 8 for value in values)
    assert Source("values", values=values).values == values


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_as_many_distinct_cases_are_drawn_as_were_asked_for(count: int) -> None:
    drawn = draw_cases(CONTRACTS["LSTM"], EVERYTHING, seed=5, count=count)
    assert len(drawn) == count
    assert len({case.case_id for case in drawn}) == count


def test_a_small_space_gives_the_cases_that_it_has() -> None:
    contract = Contract(hyperparameters={}, input="2 3", output="2 3", convention="model")
    needs = Needs(states=("none",), fills=("ones",), batches=(1,))
    assert 0 < len(draw_cases(contract, needs, seed=0, count=10)) <= 10
    assert draw_cases(CONTRACTS["LSTM"], Needs(roles={"num_layers": (9,)}), seed=0, count=10) == []


def test_a_seed_decides_what_is_drawn() -> None:
    one, two, other = (draw_cases(CONTRACTS["GRU"], Needs(), seed=seed, count=25) for seed in (3, 3, 4))
    assert one == two
    assert one != other


_SCRIPT = """
from torch import nn
from rnn_props.cases import LAYOUTS, Needs, Space, covering_cases
from rnn_props.cases.strategies import draw_cases
from rnn_props.inference import infer_contract

contract = infer_contract(nn.LSTM)
needs = Needs(batched=None, layouts=LAYOUTS, splits=True, picks=3)
drawn = draw_cases(contract, needs, seed=11, count=40)
print(" ".join(case.case_id for case in [*drawn, *covering_cases(Space.of(contract, needs), 11, 99)]))
"""


def test_other_processes_draw_the_same_cases_under_ci_too() -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS", "TF_BUILD")}
    started = [
        subprocess.Popen([sys.executable, "-c", _SCRIPT], env=plain | extra, stdout=subprocess.PIPE, text=True)
        for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "CI": "1"})
    ]
    printed = [process.communicate()[0].split() for process in started]
    assert len(printed[0]) > 60
    assert printed[0] == printed[1]
