"""Faults: each changes exactly one thing of a valid call."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_contracts import CONTRACTS, NAMES, PLAIN_CASES, with_fault

from rnn_props.cases import Call, Case, Fault, Source, apply_fault, faults_for, judge, make_call
from rnn_props.contracts import Contract, free, integers
from rnn_props.subjects import leaves

_EXAMPLES = settings(max_examples=60, deadline=None)


def _same(one: Any, two: Any) -> bool:
    """The same structure with the same tensors: shape, dtype and values."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.shape == two.shape and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, tuple | list) and type(one) is type(two) and len(one) == len(two):
        return all(_same(first, second) for first, second in zip(one, two, strict=True))
    return one is None and two is None


def _clean(case: Case, name: str) -> Call:
    return make_call(replace(case, fault=None), CONTRACTS[name])


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_a_fault_changes_one_part_of_the_call_and_no_other(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name))
    clean, faulty = _clean(case, name), make_call(replace(case, fault=fault), CONTRACTS[name])
    if fault.family != "input":
        assert _same(clean.input, faulty.input)
    if fault.family != "state":
        assert _same(clean.state, faulty.state)
    differing = {key for key in clean.hyperparameters if clean.hyperparameters[key] is not faulty.hyperparameters[key]}
    assert set(clean.hyperparameters) == set(faulty.hyperparameters)
    if fault.family == "hyperparameters":
        assert differing == {fault.argument}
    else:
        assert not differing
    if fault.family == "state" and fault.leaf >= 0:
        kept = 1 - fault.leaf
        assert _same(clean.state[kept], faulty.state[kept])


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_a_size_fault_makes_one_axis_one_longer_or_shorter(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name, "size"))
    clean, faulty = _clean(case, name), make_call(replace(case, fault=fault), CONTRACTS[name])
    step = 1 if fault.name.endswith("_more") else -1
    before = dict(leaves([clean.input, clean.state]))
    after = dict(leaves([faulty.input, faulty.state]))
    assert list(before) == list(after)
    for key, tensor in before.items():
        steps = [two - one for one, two in zip(tensor.shape, after[key].shape, strict=True)]
        assert sorted(map(abs, steps)) in ([0] * len(steps), [0] * (len(steps) - 1) + [1])
        assert set(steps) <= {0, step}


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_what_a_fault_does_depends_on_the_case_alone_and_spares_the_clean_tensors(
    name: str, data: st.DataObject
) -> None:
    case, fault = data.draw(with_fault(name, "call"))
    contract = CONTRACTS[name]
    call = _clean(case, name)
    faulty = apply_fault(fault, call, contract, batched=case.batched)
    assert _same(call.input, _clean(case, name).input)
    assert _same(call.state, _clean(case, name).state)
    again = make_call(replace(case, fault=fault), contract)
    assert _same(faulty.input, again.input)
    assert _same(faulty.state, again.state)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_families_join_to_all_and_have_no_fault_twice(name: str, data: st.DataObject) -> None:
    case, contract = data.draw(PLAIN_CASES[name]), CONTRACTS[name]
    family = {
        key: faults_for(case, contract, key) for key in ("input", "state", "call", "hyperparameters", "any", "size")
    }
    assert family["call"] == family["input"] + family["state"]
    assert family["any"] == family["call"] + family["hyperparameters"]
    assert len(set(family["any"])) == len(family["any"])
    assert set(family["size"]) < set(family["call"])
    assert bool(family["state"]) == (case.state is not None)


def test_a_pair_of_states_has_faults_for_each_member_and_for_both() -> None:
    case = Case(hyperparameters={"input_size": 3, "hidden_size": 5, "bias": True}, batch=2, state=Source())
    pair = faults_for(case, CONTRACTS["LSTMCell"], "state")
    assert {fault.leaf for fault in pair if fault.name == "state.hidden_more"} == {-1, 0, 1}
    names = {fault.name for fault in pair}
    assert {"state.swapped_members", "state.missing_member", "state.stacked"} <= names
    assert "state.wrapped" not in names
    single = {fault.name for fault in faults_for(case, CONTRACTS["GRUCell"], "state")}
    assert "state.wrapped" in single
    assert "state.swapped_members" not in single


def _lstm(**changes: Any) -> Case:
    values = {"input_size": 3, "hidden_size": 5, "num_layers": 2, "bias": True, "batch_first": False, "dropout": 0.0}
    values |= {"bidirectional": True, "proj_size": 0}
    fields = {"hyperparameters": values, "seq_len": 6, "batch": 7, "state": Source("normal", 1)}
    return Case(**(fields | changes))


@pytest.mark.parametrize(
    ("fault", "h", "c"),
    [
        (Fault("state.batch_more"), (4, 8, 5), (4, 8, 5)),
        (Fault("state.batch_less", leaf=1), (4, 7, 5), (4, 6, 5)),
        (Fault("state.batch_one", leaf=0), (4, 1, 5), (4, 7, 5)),
        (Fault("state.layers_more"), (5, 7, 5), (5, 7, 5)),
        (Fault("state.layers_less", leaf=0), (3, 7, 5), (4, 7, 5)),
        (Fault("state.directions"), (2, 7, 5), (2, 7, 5)),
        (Fault("state.batch_first", leaf=1), (4, 7, 5), (7, 4, 5)),
        (Fault("state.hidden_more", leaf=1), (4, 7, 5), (4, 7, 6)),
        (Fault("state.hidden_less"), (4, 7, 4), (4, 7, 4)),
        (Fault("state.hidden_one", leaf=0), (4, 7, 1), (4, 7, 5)),
        (Fault("state.rank_less", leaf=0), (7, 5), (4, 7, 5)),
        (Fault("state.rank_more"), (1, 4, 7, 5), (1, 4, 7, 5)),
        (Fault("state.unbatched"), (4, 5), (4, 5)),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_state_fault_gives_the_shapes_that_it_is_named_for(
    fault: Fault, h: tuple[int, ...], c: tuple[int, ...]
) -> None:
    call = make_call(_lstm(fault=fault), CONTRACTS["LSTM"])
    assert tuple(tuple(member.shape) for member in call.state) == (h, c)
    assert judge(call, CONTRACTS["LSTM"], "float64").kind == "invalid"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("input.features_more", (6, 7, 4)),
        ("input.features_less", (6, 7, 2)),
        ("input.rank_0", ()),
        ("input.rank_1", (3,)),
        ("input.rank_more", (1, 6, 7, 3)),
        ("input.empty_sequence", (0, 7, 3)),
        ("input.dtype_integer", (6, 7, 3)),
        ("input.dtype_float", (6, 7, 3)),
    ],
)
def test_an_input_fault_gives_the_shape_that_it_is_named_for(name: str, shape: tuple[int, ...]) -> None:
    call = make_call(_lstm(fault=Fault(name)), CONTRACTS["LSTM"])
    assert tuple(call.input.shape) == shape
    expected = {"input.dtype_integer": torch.int64, "input.dtype_float": torch.float32}.get(name, torch.float64)
    assert call.input.dtype == expected
    assert judge(call, CONTRACTS["LSTM"], "float64").kind == "invalid"


def test_batch_first_shortens_the_time_axis_for_an_empty_sequence() -> None:
    case = _lstm(fault=Fault("input.empty_sequence"))
    case = replace(case, hyperparameters={**case.hyperparameters, "batch_first": True})
    assert tuple(make_call(case, CONTRACTS["LSTM"]).input.shape) == (7, 0, 3)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("state.missing_member", 1),
        ("state.extra_member", 3),
        ("state.swapped_members", 2),
    ],
)
def test_a_fault_of_the_container_changes_its_members(name: str, count: int) -> None:
    projected = _lstm(fault=Fault(name))
    projected = replace(projected, hyperparameters={**projected.hyperparameters, "proj_size": 2})
    call = make_call(projected, CONTRACTS["LSTM"])
    assert len(call.state) == count
    assert judge(call, CONTRACTS["LSTM"], "float64").kind == "invalid"


@pytest.mark.parametrize("name", ["state.first_member_alone", "state.stacked"])
def test_one_tensor_for_a_pair_is_a_tensor(name: str) -> None:
    assert isinstance(make_call(_lstm(fault=Fault(name)), CONTRACTS["LSTM"]).state, torch.Tensor)


def test_members_that_nothing_joins_stay_as_they_are_and_are_valid() -> None:
    contract = Contract(
        hyperparameters={"input_size": integers(1, 3), "hidden_size": integers(1, 3)},
        roles={"input_size": "input_size", "hidden_size": "hidden_size"},
        output="T B H",
        state=("1 B H", "2 B H"),
    )
    case = Case(hyperparameters={"input_size": 2, "hidden_size": 3}, batch=2, state=Source("normal", 1))
    call = make_call(replace(case, fault=Fault("state.stacked")), contract)
    assert judge(call, contract, case.dtype).kind == "valid"


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        ("zero", "hidden_size", 0),
        ("negative", "input_size", -1),
        ("negative", "dropout", -0.25),
        ("too_big", "dropout", 1.5),
        ("too_big", "proj_size", 5),
        ("float", "num_layers", 2.5),
        ("string", "bias", "three"),
        ("none", "hidden_size", None),
        ("bool", "num_layers", True),
        ("integer", "bidirectional", 2),
    ],
)
def test_a_bad_hyperparameter_has_the_value_that_it_is_named_for(kind: str, argument: str, value: Any) -> None:
    fault = Fault(f"hyperparameters.{kind}", argument=argument)
    call = make_call(_lstm(fault=fault), CONTRACTS["LSTM"])
    assert call.hyperparameters[argument] == value
    assert type(call.hyperparameters[argument]) is type(value)
    assert judge(call, CONTRACTS["LSTM"], "float64").kind == "invalid"


def test_nan_is_a_bad_probability() -> None:
    fault = Fault("hyperparameters.nan", argument="dropout")
    call = make_call(_lstm(fault=fault), CONTRACTS["LSTM"])
    assert math.isnan(call.hyperparameters["dropout"])
    assert judge(call, CONTRACTS["LSTM"], "float64").reason == "dropout=nan is no probability: it must be in [0, 1]"


def test_what_is_free_or_drawn_by_the_user_has_no_bad_value() -> None:
    contract = Contract(hyperparameters={"kernel": free(3, 5), "width": st.just(4), "units": integers(1, 3)})
    case = Case(hyperparameters={"kernel": 3, "width": 4, "units": 2})
    assert {fault.argument for fault in faults_for(case, contract, "hyperparameters")} == {"units"}


def test_an_unknown_fault_is_an_error() -> None:
    with pytest.raises(KeyError):
        make_call(_lstm(fault=Fault("input.upside_down")), CONTRACTS["LSTM"])
