"""Rows of unequal length: the kinds that are drawn, how they are packed, how they shrink, what faults make of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch_contracts import CONTRACTS

from rnn_props.cases import Case, Fault, Needs, Space, covering_cases, faults_for, judge, make_call, make_input, shrink
from rnn_props.cases.space import row_lengths
from rnn_props.cases.strategies import draw_cases
from rnn_props.contracts import Contract
from rnn_props.inference import infer_contract
from rnn_props.zoo import CORRECT

KINDS = ("equal", "sorted", "decreasing", "increasing", "mixed", "one_short")
PACKED = Needs(rows=KINDS, packed=True)
LENGTHS = infer_contract(CORRECT["PaddedGRU"].module)


@given(
    st.sampled_from([*KINDS, "empty_row"]), st.integers(1, 13), st.integers(1, 5), st.integers(0, 99)
)  # fmt: skip
def test_the_longest_row_has_all_steps_and_the_kind_is_what_it_says(
    kind: str, length: int, batch: int, seed: int
) -> None:
    lengths = row_lengths(kind, length, batch, seed)
    assert len(lengths) == batch
    assert max(lengths) == length
    assert lengths == row_lengths(kind, length, batch, seed)
    assert min(lengths) >= (0 if kind == "empty_row" else 1)
    if kind in ("sorted", "decreasing"):
        assert list(lengths) == sorted(lengths, reverse=True)
    if kind == "increasing":
        assert list(lengths) == sorted(lengths)
    if batch > 1:
        assert kind != "empty_row" or 0 in lengths
        assert kind != "one_short" or 1 in lengths


def test_full_rows_have_no_lengths_and_empty_ones_have_nothing_else() -> None:
    assert row_lengths("full", 4, 3, 0) == ()
    assert row_lengths("all_empty", 4, 3, 0) == (0, 0, 0)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_drawn_packed_cases_are_valid_and_survive_json(name: str) -> None:
    contract = CONTRACTS[name]
    found = covering_cases(Space.of(contract, PACKED), 0, 40) + draw_cases(contract, PACKED, seed=0, count=20)
    assert {case.packing for case in found} == {"sorted", "unsorted"}
    assert any(list(case.lengths) != sorted(case.lengths, reverse=True) for case in found)
    for case in found:
        assert len(case.lengths) == case.batch
        assert max(case.lengths) == case.seq_len
        assert Case.from_json(case.to_json()) == case
        packed = make_input(case, contract)
        assert isinstance(packed, PackedSequence)
        assert pad_packed_sequence(packed)[1].tolist() == list(case.lengths)
        assert (packed.sorted_indices is None) == (case.packing == "sorted")
        assert judge(make_call(case, contract), contract, case.dtype).kind == "valid"


def test_a_cell_has_no_packed_cases_and_a_sorted_only_module_none_in_another_order() -> None:
    assert Space.of(CONTRACTS["GRUCell"], PACKED).empty_dimension == "rows"
    capabilities = replace(CONTRACTS["GRU"].capabilities, sorted_only=True)
    space = Space.of(replace(CONTRACTS["GRU"], capabilities=capabilities), PACKED)
    assert space.dimensions["rows"] == ("equal", "sorted")


def test_where_no_packed_sequence_is_taken_rows_have_lengths_beside_them() -> None:
    for case in draw_cases(LENGTHS, PACKED, seed=0, count=10):
        assert case.lengths
        assert case.packing == ""
        call = make_call(case, LENGTHS)
        assert call.lengths.tolist() == list(case.lengths)


@pytest.mark.parametrize("contract", [CONTRACTS["LSTM"], LENGTHS], ids=["packed", "lengths"])
def test_every_fault_in_lengths_is_invalid_to_the_judge(contract: Contract) -> None:
    needs = Needs(rows=("mixed",), packed=True, batches=(3,), lengths=(4,), faults="lengths")
    case = next(case for case in draw_cases(contract, needs, seed=1, count=20) if len(set(case.lengths)) > 1)
    faults = faults_for(case, contract, "lengths")
    assert len(faults) == 6
    for fault in faults:
        verdict = judge(make_call(replace(case, fault=fault), contract), contract, case.dtype)
        expected = "valid" if fault.name == "lengths.zero" and contract is LENGTHS else "invalid"
        assert (fault.name, verdict.kind) == (fault.name, expected)
        assert verdict.reason


def test_a_fault_in_a_packed_input_is_put_into_its_data() -> None:
    contract = CONTRACTS["GRU"]
    case = draw_cases(contract, Needs(rows=("mixed",), packed=True), seed=0, count=1)[0]
    call = make_call(replace(case, fault=Fault("input.features_more")), contract)
    assert isinstance(call.input, PackedSequence)
    assert call.input.data.shape[1] == case.hyperparameters["input_size"] + 1
    assert judge(call, contract, case.dtype).kind == "invalid"


def test_batch_sizes_that_sum_to_other_than_the_rows_of_data_are_named() -> None:
    contract = CONTRACTS["GRU"]
    case = draw_cases(contract, Needs(rows=("mixed",), packed=True), seed=0, count=1)[0]
    call = make_call(replace(case, fault=Fault("lengths.rows_missing")), contract)
    total = sum(case.lengths)
    assert judge(call, contract, case.dtype).reason == f"batch_sizes sums to {total}, and len(data) is {total - 1}"
    assert torch.equal(call.input.batch_sizes, make_input(case, contract).batch_sizes)  # type: ignore[union-attr]


def test_lengths_shrink_to_the_two_rows_that_matter() -> None:
    contract = CONTRACTS["GRU"]
    case = next(
        case
        for case in draw_cases(contract, Needs(rows=("mixed",), packed=True, lengths=(8, 13)), seed=0, count=60)
        if len(case.lengths) > 3 and _unsorted(case)
    )
    shrinker = shrink(case, contract, PACKED, budget=400)
    answer = None
    while True:
        try:
            candidate = shrinker.send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            smallest = end.value
            break
        assert len(candidate.lengths) == candidate.batch
        assert max(candidate.lengths) == candidate.seq_len
        answer = _unsorted(candidate)
    assert smallest.lengths == (1, 2)
    assert (smallest.batch, smallest.seq_len, smallest.packing) == (2, 2, "unsorted")


def _unsorted(case: Case) -> bool:
    return list(case.lengths) != sorted(case.lengths, reverse=True)
