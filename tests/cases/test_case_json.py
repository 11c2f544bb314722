"""Cases: JSON, the code that rebuilds them, and their identifiers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_contracts import ALL_CASES, CONTRACTS, NAMES

from rnn_props.cases import Case, Fault, Source, faults_for, input_spec, make_state
from rnn_props.contracts import map_structure
from rnn_props.subjects import leaves, map_tree


def _drawn(data: st.DataObject, name: str) -> Case:
    case = data.draw(ALL_CASES[name])
    fault = data.draw(st.none() | st.sampled_from(faults_for(case, CONTRACTS[name], "any")))
    return replace(case, fault=fault)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_case_goes_through_json_and_through_its_own_code_without_loss(name: str, data: st.DataObject) -> None:
    case = _drawn(data, name)
    again = Case.from_json(json.loads(json.dumps(case.to_json())))
    assert again == case
    assert again.case_id == case.case_id
    assert repr(again) == repr(case)
    assert eval(repr(case), {"Case": Case, "Source": Source, "Fault": Fault}) == case


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_case_read_from_json_makes_the_same_tensors(name: str, data: st.DataObject) -> None:
    case, contract = data.draw(ALL_CASES[name]), CONTRACTS[name]
    again = Case.from_json(json.loads(json.dumps(case.to_json())))
    one, two = input_spec(case, contract).make(), input_spec(again, contract).make()
    assert torch.equal(one, two)
    assert one.stride() == two.stride()
    pairs = zip(leaves(make_state(case, contract)), leaves(make_state(again, contract)), strict=True)
    assert all(torch.equal(first, second) for (_, first), (_, second) in pairs)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_tensors_of_a_case_have_the_shapes_of_the_contract(name: str, data: st.DataObject) -> None:
    case, contract = data.draw(ALL_CASES[name]), CONTRACTS[name]
    sizes = contract.sizes(case.hyperparameters, case.seq_len, case.batch)
    rules = contract.rules(case.hyperparameters, batched=case.batched)
    given_input = input_spec(case, contract).make()
    assert tuple(given_input.shape) == rules.input.shape(sizes)
    assert str(given_input.dtype) == f"torch.{case.dtype}"
    state = make_state(case, contract)
    if case.state is None:
        assert state is None
    else:
        expected = map_structure(lambda rule: rule.shape(sizes), rules.state)
        assert map_tree(lambda leaf: tuple(leaf.shape), state) == expected


def test_the_leaves_of_a_state_have_values_of_their_own() -> None:
    case = Case(hyperparameters={"input_size": 3, "hidden_size": 5}, batch=2, state=Source("normal", 1))
    h, c = make_state(case, CONTRACTS["LSTMCell"])
    assert not torch.equal(h, c)


def test_a_default_case_is_empty_json() -> None:
    assert Case().to_json() == {}
    assert Case.from_json({}) == Case()
    assert repr(Case()) == "Case()"


def test_every_field_of_a_case_is_written() -> None:
    case = Case(
        hyperparameters={"hidden_size": 2, "kernel": (3, 5)}, seq_len=3, batch=2, batched=False, dtype="float32",
        parameter_seed=7, parameter_scale=4.0, input=Source("values", 3, "strided", (1.0, -0.0)),
        state=Source("zeros"), splits=(1, 2), picks=(0, 11), fault=Fault("state.dtype", 1),
        lengths=(3, 1), packing="unsorted", story=(("feed", 0, 2), ("fork", 0, 0)),
    )  # fmt: skip
    assert set(case.to_json()) == {item.name for item in fields(Case)}
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_a_state_that_is_simplest_is_not_taken_for_no_state() -> None:
    given_state = Case(state=Source())
    assert given_state != Case()
    assert Case.from_json(given_state.to_json()).state == Source()


def test_a_case_prints_as_the_code_that_rebuilds_it() -> None:
    case = Case(hyperparameters={"hidden_size": 2}, seq_len=3, state=Source("normal", 5), fault=Fault("state.dtype", 1))
    assert repr(case) == (
        "Case(hyperparameters={'hidden_size': 2}, seq_len=3, state=Source(seed=5), "
        "fault=Fault(name='state.dtype', leaf=1))"
    )


def test_an_unknown_field_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="a case has no field") as caught:
        Case.from_json({"seq_len": 2, "length": 3})
    assert str(caught.value) == (
        "a case has no field 'length'; its fields are hyperparameters, seq_len, batch, batched, dtype, parameter_seed, "
        "parameter_scale, input, state, splits, lengths, packing, story, picks, fault"
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_identifier_follows_from_the_content_and_not_from_the_order_of_it(data: st.DataObject) -> None:
    case = _drawn(data, "LSTM")
    shuffled = data.draw(st.permutations(list(case.hyperparameters.items())))
    assert replace(case, hyperparameters=dict(shuffled)).case_id == case.case_id
    assert len(case.case_id) == 6
    assert int(case.case_id, 16) >= 0
    assert replace(case, parameter_seed=case.parameter_seed + 1).case_id != case.case_id


def test_an_identifier_is_the_same_in_another_process() -> None:
    case = Case(hyperparameters={"hidden_size": 2, "bias": False}, seq_len=3, state=Source("normal", 5), splits=(1, 2))
    code = f"from rnn_props.cases import Case, Fault, Source; print({case!r}.case_id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == case.case_id


def test_a_fault_is_told_from_others_by_its_name_and_its_argument() -> None:
    assert Fault("state.batch_one", leaf=1).key == "state.batch_one"
    fault = Fault("hyperparameters.zero", argument="hidden_size")
    assert (fault.family, fault.key) == ("hyperparameters", "hyperparameters.zero(hidden_size)")
