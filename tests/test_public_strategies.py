"""The public strategies, as a model repository uses them under `@given`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import rnn_props
from rnn_props import Case, strategies, testing
from rnn_props.checks import get
from rnn_props.contracts import Contract
from rnn_props.contracts.presets import cell_contract, sequence_contract

LSTM = sequence_contract(
    "LSTM",
    ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"),
    full=True,
)
CELL = cell_contract("GRUCell", ("input_size", "hidden_size", "bias"), full=True)
FEW = settings(max_examples=30, deadline=None)


@FEW
@given(strategies.hyperparameters(LSTM))
def test_hyperparameters_build_the_module(hyperparameters: dict[str, Any]) -> None:
    assert hyperparameters["proj_size"] < hyperparameters["hidden_size"]
    nn.LSTM(**hyperparameters)


@FEW
@given(strategies.inputs("B T I", I=3, B=st.integers(2, 4), dtype=torch.float64))
def test_inputs_have_their_rule(x: Tensor) -> None:
    assert x.dtype == torch.float64
    assert x.dim() == x.shape[2] == 3
    assert 2 <= x.shape[0] <= 4


@FEW
@given(strategies.states(("L B H", {"c": "L B H"}), L=2, H=4))
def test_states_have_one_set_of_sizes(state: Any) -> None:
    h, rest = state
    assert h.shape == rest["c"].shape
    assert (h.shape[0], h.shape[2]) == (2, 4)


@FEW
@given(st.data(), st.integers(1, 9), st.integers(1, 5))
def test_lengths_and_splits_fit_the_sequence(data: st.DataObject, seq_len: int, batch: int) -> None:
    lengths = data.draw(strategies.lengths(seq_len, batch))
    assert (len(lengths), max(lengths)) == (batch, seq_len)
    assert min(lengths) >= 1
    cuts = data.draw(strategies.splits(seq_len))
    assert list(cuts) == sorted(set(cuts))
    assert all(0 < cut < seq_len for cut in cuts)
    assert bool(cuts) == (seq_len > 1)


@FEW
@given(strategies.faults(LSTM, "state"))
def test_a_fault_makes_a_call_that_the_judge_can_read(case: Case) -> None:
    assert case.fault is not None
    assert case.fault.family == "state"
    assert testing.judge(testing.make_call(case, LSTM), LSTM, case.dtype).kind in ("invalid", "valid", "unspecified")


@FEW
@given(strategies.cases(LSTM))
def test_a_case_is_a_call_of_the_module(case: Case) -> None:
    module = testing.seeded(nn.LSTM, **case.hyperparameters, seed=case.parameter_seed, dtype=getattr(torch, case.dtype))
    output, _ = module(testing.make_input(case, LSTM), testing.make_state(case, LSTM))
    assert output.dtype == getattr(torch, case.dtype)


@pytest.mark.parametrize("check", ["RP103", "RP201", "RP214", "RP306", "RP401", "RP402", "RP406"])
def test_a_check_has_cases_of_its_own(check: str) -> None:
    found = get(check)
    seen: list[Case] = []

    @settings(max_examples=5, phases=(Phase.generate,), database=None, deadline=None)
    @given(strategies.cases(LSTM, check))
    def collect(case: Case) -> None:
        seen.append(case)

    collect()
    for case in seen:
        assert bool(case.fault) == bool(found.needs.faults)
        assert bool(case.story) == found.needs.story
        assert bool(case.splits) == found.needs.splits
        assert Case.from_json(case.to_json()) == case
        if found.prepare is not None:
            assert found.prepare(case, LSTM) == case


@FEW
@given(strategies.cases(LSTM, replace={"T": st.just(11)}))
def test_replacements_stand_in_place_of_ours(case: Case) -> None:
    assert case.seq_len == 11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: strategies.inputs("T B I", H=3), "the rule has no 'H'; it has B, I, T"),
        (lambda: strategies.inputs("T B I", fills=("noise",)), "fill must be one of"),
        (lambda: strategies.states("L B H", layouts=("odd",)), "layout must be one of"),
        (lambda: strategies.lengths(0, 2), "must be at least 1"),
        (lambda: strategies.lengths(2, 2, kinds=("short",)), "kinds must be of"),
        (lambda: strategies.faults(LSTM, "weights"), "family must be one of"),
        (lambda: strategies.faults(Contract(), "state"), "it has no state"),
        (lambda: strategies.faults(CELL, "lengths"), "it has no lengths or packed input"),
        (lambda: strategies.cases(LSTM, "RP2*"), "means .* checks; name one"),
        (lambda: strategies.cases(LSTM, "RP999"), "no check matches 'RP999'"),
        (lambda: strategies.cases(LSTM, "RP201", needs=rnn_props.Needs()), "not both"),
    ],
)
def test_what_means_nothing_is_an_error_at_the_call(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
