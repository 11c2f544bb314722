"""The judge, held against an oracle that does not share its reasoning: torch itself, and the call before the fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_contracts import CONTRACTS, NAMES, build, with_fault

from rnn_props.cases import Call, Case, Fault, Source, Verdict, judge, make_call
from rnn_props.contracts import Capabilities, Contract, booleans, choices, free, integers, probabilities
from rnn_props.subjects import kept_clean, map_tree

_EXAMPLES = settings(max_examples=60, deadline=None)

#: Faults whose calls torch's modules reject by a check of their own, before any kernel sees the tensors.
SAFE_ON_LAYERS = frozenset(
    [
        "input.features_more", "input.features_less", "input.rank_0", "input.rank_1", "input.rank_more",
        "input.dtype_integer", "input.dtype_float", "input.empty_sequence",
        "state.batch_more", "state.batch_less", "state.batch_one", "state.layers_more", "state.layers_less",
        "state.directions", "state.hidden_more", "state.hidden_less", "state.hidden_one", "state.rank_more",
    ]
)  # fmt: skip
SAFE_ON_CELLS = frozenset(["input.features_more", "input.features_less", "input.rank_0"])


def _skeleton(tree: Any) -> Any:
    """Everything of a tree but its values: structure, shapes, dtypes."""
    return map_tree(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), tree)


def _run(name: str, call: Call) -> None:
    """Build torch's module and call it; whatever it raises comes out."""
    with kept_clean(), torch.no_grad():
        module = build(name, call.hyperparameters).double()
        module(call.input, *(() if call.state is None else (call.state,)))


def _is_valid_by_hand(name: str, case: Case, call: Call) -> bool:
    """torch's documentation, spelled out: the shapes that a call with these arguments may have."""
    values, given_input = call.hyperparameters, call.input
    if repr(values) != repr(case.hyperparameters) or given_input.dtype != torch.float64:
        return False
    features, hidden = values["input_size"], values["hidden_size"]
    if name.endswith("Cell"):
        if given_input.dim() not in (1, 2) or given_input.shape[-1] != features:
            return False
        leading = tuple(given_input.shape[:-1])
        widths = [hidden, hidden]
    else:
        if given_input.dim() not in (2, 3) or given_input.shape[-1] != features:
            return False
        first = values["batch_first"] and given_input.dim() == 3
        if given_input.shape[1 if first else 0] == 0:
            return False
        rows = values["num_layers"] * (2 if values["bidirectional"] else 1)
        leading = (rows,) if given_input.dim() == 2 else (rows, given_input.shape[0 if first else 1])
        widths = [values.get("proj_size") or hidden, hidden]
    if call.state is None:
        return True
    if not name.startswith("LSTM"):
        return isinstance(call.state, torch.Tensor) and _fits(call.state, (*leading, widths[0]))
    if not isinstance(call.state, tuple) or len(call.state) != 2:
        return False
    return all(_fits(leaf, (*leading, width)) for leaf, width in zip(call.state, widths, strict=True))


def _fits(leaf: torch.Tensor, shape: tuple[int, ...]) -> bool:
    return tuple(leaf.shape) == shape and leaf.dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_a_faulty_call_is_valid_exactly_where_torchs_documentation_allows_it(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name))
    call = make_call(replace(case, fault=fault), CONTRACTS[name])
    verdict = judge(call, CONTRACTS[name], "float64")
    assert verdict.kind == ("valid" if _is_valid_by_hand(name, case, call) else "invalid")
    assert bool(verdict.reason) == (verdict.kind == "invalid")
    assert not verdict.advice, "under torch's own contract nothing is a matter of taste"


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_torch_takes_every_call_that_the_judge_calls_valid(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name))
    call = make_call(replace(case, fault=fault), CONTRACTS[name])
    if judge(call, CONTRACTS[name], "float64").kind == "valid":
        _run(name, call)


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_a_call_that_a_fault_left_as_it_was_is_valid(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name, "call"))
    clean = make_call(case, CONTRACTS[name])
    call = make_call(replace(case, fault=fault), CONTRACTS[name])
    if _skeleton([clean.input, clean.state]) == _skeleton([call.input, call.state]):
        assert judge(call, CONTRACTS[name], "float64") == Verdict("valid")


@pytest.mark.parametrize("name", NAMES)
@_EXAMPLES
@given(data=st.data())
def test_torch_rejects_what_the_judge_calls_invalid(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name, "call"))
    safe = SAFE_ON_CELLS if name.endswith("Cell") else SAFE_ON_LAYERS
    call = make_call(replace(case, fault=fault), CONTRACTS[name])
    if fault.name in safe and judge(call, CONTRACTS[name], "float64").kind == "invalid":
        with pytest.raises(Exception):  # noqa: B017, PT011 - torch has five types for it
            _run(name, call)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@_EXAMPLES
@given(data=st.data())
def test_torch_rejects_bad_hyperparameters_that_the_judge_calls_invalid(name: str, data: st.DataObject) -> None:
    case, fault = data.draw(with_fault(name, "hyperparameters"))
    call = make_call(replace(case, fault=fault), CONTRACTS[name])
    assert judge(call, CONTRACTS[name], "float64").kind == "invalid"
    lenient = fault.name == "hyperparameters.bool" or fault.argument == "bidirectional"
    if not lenient:  # torch takes True for 1, and anything for bidirectional
        with pytest.raises((ValueError, TypeError, RuntimeError)), kept_clean():
            build(name, call.hyperparameters)


# -- what is said, and what is left open ------------------------------------------------------------------------------


def _call(**changes: Any) -> Call:
    values = {"input_size": 3, "hidden_size": 5, "num_layers": 2, "bias": True, "batch_first": False, "dropout": 0.0}
    values |= {"bidirectional": False, "proj_size": 0}
    case = Case(hyperparameters=values, seq_len=6, batch=7, state=Source("normal", 1))
    return replace(make_call(case, CONTRACTS["LSTM"]), **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input": [1.0]}, "the input is a list, not a tensor"),
        ({"input": torch.zeros(3).double()}, "the input has 1 dimensions, not 2 or 3"),
        (
            {"input": torch.zeros(6, 7, 4).double()},
            "input: expected (T, B, I) = (6, 7, 3), got (6, 7, 4): dimension 2 is input_size",
        ),
        ({"input": torch.zeros(6, 7, 3)}, "the input is float32, the module float64"),
        ({"input": torch.zeros(0, 7, 3).double()}, "the sequence has no step"),
        (
            {"state": (torch.zeros(1, 7, 5).double(), torch.zeros(2, 7, 5).double())},
            "h: expected (L*D, B, P) = (2, 7, 5), got (1, 7, 5): dimension 0 is num_layers*num_directions",
        ),
        (
            {"state": (torch.zeros(2, 7, 5).double(), torch.zeros(2, 7, 5))},
            "c is float32, the module float64",
        ),
        ({"state": (torch.zeros(2, 7, 5).double(),)}, "state has 1 members, not 2"),
        ({"state": torch.zeros(2, 7, 5).double()}, "state is one tensor, not a tuple of 2"),
        ({"state": (torch.zeros(2, 7, 5).double(), 3)}, "c is a int, not a tensor"),
        ({"state": {"h": 1}}, "state has dict members, not 2"),
    ],
)
def test_a_verdict_says_what_is_wrong(changes: dict[str, Any], reason: str) -> None:
    assert judge(_call(**changes), CONTRACTS["LSTM"], "float64") == Verdict("invalid", reason)


@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("input_size", 0, "input_size=0: it must be at least 1"),
        ("num_layers", -1, "num_layers=-1: it must be at least 1"),
        ("hidden_size", 2.5, "hidden_size=2.5 is not an integer"),
        ("hidden_size", "three", "hidden_size='three' is not an integer"),
        ("bias", 2, "bias=2 is not a bool"),
        ("dropout", "three", "dropout='three' is not a number"),
        ("dropout", True, "dropout=True is not a number"),
        ("proj_size", 5, "the constructor's arguments break proj_size < hidden_size"),
    ],
)
def test_a_verdict_names_the_constructors_argument(argument: str, value: Any, reason: str) -> None:
    call = _call()
    call = replace(call, hyperparameters={**call.hyperparameters, argument: value})
    assert judge(call, CONTRACTS["LSTM"], "float64") == Verdict("invalid", reason)


def test_a_choice_that_there_is_not_is_named_with_those_that_there_are() -> None:
    contract = CONTRACTS["RNNCell"]
    call = Call({"input_size": 3, "hidden_size": 5, "bias": True, "nonlinearity": "gelu"}, torch.zeros(3), None)
    assert judge(call, contract, "float32").reason == "nonlinearity='gelu' is none of 'tanh', 'relu'"


def test_values_beyond_those_that_are_drawn_are_valid() -> None:
    call = _call()
    call = replace(call, hyperparameters={**call.hyperparameters, "dropout": 0.37, "bias": False})
    assert judge(call, CONTRACTS["LSTM"], "float64") == Verdict("valid")


OWN = Contract(
    hyperparameters={
        "input_size": integers(1, 7), "hidden_size": integers(1, 7), "skip": integers(0, 3), "bias": booleans(),
        "dropout": probabilities(0.0, 0.5), "mode": choices("a", "b"), "kernel": free(3),
    },
    roles={"input_size": "input_size", "hidden_size": "hidden_size"},
    output="T B H",
    state=("1 B H", "1 B H"),
)  # fmt: skip
VALUES = {"input_size": 3, "hidden_size": 5, "skip": 0, "bias": True, "dropout": 0.0, "mode": "a", "kernel": 3}


def _own(state: Any = None, **values: Any) -> Verdict:
    return judge(Call({**VALUES, **values}, torch.zeros(6, 7, 3), state), OWN, "float32")


@pytest.mark.parametrize(
    ("argument", "value", "kind"),
    [
        ("hidden_size", True, "unspecified"),
        ("hidden_size", 0, "unspecified"),
        ("hidden_size", None, "unspecified"),
        ("hidden_size", 4.0, "unspecified"),
        ("hidden_size", 2.5, "invalid"),
        ("hidden_size", -1, "invalid"),
        ("hidden_size", "three", "invalid"),
        ("skip", 0, "valid"),
        ("skip", 99, "valid"),
        ("skip", -1, "invalid"),
        ("bias", 2, "unspecified"),
        ("dropout", None, "unspecified"),
        ("dropout", 1, "valid"),
        ("dropout", 1.5, "invalid"),
        ("dropout", float("nan"), "invalid"),
        ("mode", "no_such_choice", "invalid"),
        ("kernel", "anything", "valid"),
    ],
)
def test_outside_torchs_contract_what_can_be_read_two_ways_is_left_open(argument: str, value: Any, kind: str) -> None:
    assert _own(**{argument: value}).kind == kind


def test_a_plain_error_outweighs_one_that_is_left_open() -> None:
    assert _own(bias=2, hidden_size=-1).kind == "invalid"
    assert _own(bias=2, hidden_size=4).kind == "unspecified"


@pytest.mark.parametrize(
    ("h", "c", "advice"),
    [
        ((1, 1, 5), (1, 7, 5), True),  # broadcasts over the batch
        ((5,), (1, 7, 5), True),
        ((7, 5), (1, 7, 5), True),
        ((1, 1, 7, 5), (1, 7, 5), True),
        ((1, 6, 5), (1, 7, 5), False),
        ((2, 7, 5), (1, 7, 5), False),
        ((1, 7, 4), (1, 7, 5), False),
        ((1, 1, 5), (1, 6, 5), False),  # one member is plainly wrong
    ],
)
def test_outside_torchs_contract_a_state_that_broadcasts_is_worth_advice(
    h: tuple[int, ...], c: tuple[int, ...], advice: bool
) -> None:
    verdict = _own((torch.zeros(h), torch.zeros(c)))
    assert (verdict.kind, verdict.advice) == ("invalid", advice)


def test_with_one_unit_a_wider_state_is_worth_advice_and_more_layers_are_not() -> None:
    wider, layers = (torch.zeros(1, 7, 1), torch.zeros(1, 7, 2)), (torch.zeros(1, 7, 1), torch.zeros(2, 7, 1))
    assert [_own(state, hidden_size=1).advice for state in (wider, layers)] == [True, False]


def test_outside_torchs_contract_other_ranks_and_dtypes_are_worth_advice() -> None:
    for given_input in (torch.zeros(1, 6, 7, 3), torch.zeros(6, 7, 3, dtype=torch.int64)):
        verdict = judge(Call(VALUES, given_input, None), OWN, "float32")
        assert (verdict.kind, verdict.advice) == ("invalid", True)
    wrong_features = judge(Call(VALUES, torch.zeros(6, 7, 4), None), OWN, "float32")
    assert (wrong_features.kind, wrong_features.advice) == ("invalid", False)


def test_outside_torchs_contract_an_empty_sequence_and_a_stacked_state_are_left_open() -> None:
    assert judge(Call(VALUES, torch.zeros(0, 7, 3), None), OWN, "float32").kind == "unspecified"
    assert _own(torch.zeros(2, 1, 7, 5)).kind == "unspecified"
    assert _own(torch.zeros(3, 1, 7, 5)).kind == "invalid"


def test_a_state_of_names_is_judged_by_its_names() -> None:
    contract = Contract(output="T B 5", state={"h": "B 5"}, hyperparameters={"input_size": integers(1, 7)},
                        roles={"input_size": "input_size"})  # fmt: skip
    values, given_input = {"input_size": 3}, torch.zeros(6, 7, 3)
    assert judge(Call(values, given_input, {"h": torch.zeros(7, 5)}), contract, "float32").kind == "valid"
    assert judge(Call(values, given_input, {"h": torch.zeros(7, 4)}), contract, "float32").reason == (
        "state['h']: expected (B, 5) = (7, 5), got (7, 4): dimension 1 is 5"
    )
    assert judge(Call(values, given_input, {"x": torch.zeros(7, 5)}), contract, "float32").kind == "unspecified"


def test_an_input_without_batch_is_valid_where_the_contract_has_it() -> None:
    unbatched = torch.zeros(6, 3)
    able = replace(OWN, capabilities=Capabilities(unbatched=True))
    assert judge(Call(VALUES, unbatched, None), OWN, "float32").kind == "invalid"
    assert judge(Call(VALUES, unbatched, None), able, "float32").kind == "valid"
    state = (torch.zeros(1, 5), torch.zeros(1, 5))
    assert judge(Call(VALUES, unbatched, state), able, "float32").kind == "valid"


def test_a_fault_that_means_nothing_here_leaves_a_valid_call() -> None:
    case = Case(hyperparameters=VALUES, seq_len=6, batch=1, dtype="float32", state=Source("normal"))
    for name in ("state.layers_more", "state.directions", "state.batch_one", "state.swapped_members"):
        call = make_call(replace(case, fault=Fault(name)), OWN)
        assert judge(call, OWN, "float32").kind == "valid", name
