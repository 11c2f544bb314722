"""Contracts: JSON, sizes, the rules of one call, constraints, and what is refused at construction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rnn_props.contracts import (
    FLOAT_DTYPES,
    ROLE_NAMES,
    Capabilities,
    Contract,
    ShapeRule,
    booleans,
    choices,
    free,
    integers,
    map_structure,
    parse_structure,
    probabilities,
)
from rnn_props.contracts.domains import Domain
from rnn_props.inference import infer_contract
from rnn_props.targets import TargetError

TORCH = {name: infer_contract(getattr(nn, name)) for name in ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")}

RULES = st.sampled_from(["T B I", "B H", "L*D B P", "B (L+1)*H", "B 2", "B", ""])
STRUCTURES = st.recursive(
    st.none() | RULES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["h", "tuple", "list", "dict"]), inner, max_size=3)
    ),
    max_leaves=5,
)
VALUES = st.none() | st.booleans() | st.integers(-3, 9) | st.floats(0, 1) | st.text(max_size=3)
DOMAINS = (
    st.sampled_from([integers(1, 7), integers(0, 3), booleans(), booleans(simplest=True), probabilities(0.0, 0.5)])
    | st.lists(VALUES, min_size=1, max_size=4).map(lambda values: choices(*values))
    | st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=2).map(lambda v: free(*v))
)
FLAGS = [item for item in Capabilities.__slots__ if item != "dtypes"]
CAPABILITIES = st.builds(
    Capabilities,
    dtypes=st.lists(st.sampled_from(FLOAT_DTYPES), unique=True).map(tuple),
    **{name: st.booleans() for name in FLAGS},
)
CONTRACTS = st.builds(
    Contract,
    hyperparameters=st.dictionaries(st.sampled_from(["input_size", "units", "proj_size", "mode"]), DOMAINS),
    fixed=st.dictionaries(st.sampled_from(["vocab", "kernel"]), VALUES | st.lists(st.integers()).map(tuple)),
    roles=st.dictionaries(st.sampled_from(list(ROLE_NAMES)), st.sampled_from(["input_size", "units"])),
    convention=st.sampled_from(["rnn", "cell", "model"]),
    input=RULES,
    output=st.none() | RULES,
    state=STRUCTURES,
    capabilities=CAPABILITIES,
    constraints=st.lists(st.sampled_from(["proj_size < units", "units % 4", "a <= 8", "a == b"])).map(tuple),
    torch_module=st.none() | st.sampled_from(list(TORCH)),
    logic_dtype=st.sampled_from(["float64", "float32"]),
    evidence=st.lists(st.text()).map(tuple),
)


def _types(value: Any) -> Any:
    """A value with its types, so that 1 and True and 1.0 are told apart."""
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, Domain):
        return (value.kind, _types(value.values))
    if isinstance(value, tuple | list):
        return (type(value), [_types(item) for item in value])
    return (type(value), value)


@given(CONTRACTS)
def test_a_contract_goes_through_json_without_loss(contract: Contract) -> None:
    again = Contract.from_json(json.loads(json.dumps(contract.to_json())))
    assert again == contract
    for name in ("hyperparameters", "fixed", "state"):
        assert _types(getattr(again, name)) == _types(getattr(contract, name))


@pytest.mark.parametrize("name", TORCH)
def test_the_contracts_of_torch_go_through_json_without_loss(name: str) -> None:
    assert Contract.from_json(json.loads(json.dumps(TORCH[name].to_json()))) == TORCH[name]


def test_a_strategy_of_the_users_is_named_in_json_and_left_out_when_it_is_read() -> None:
    contract = Contract(hyperparameters={"hidden_size": integers(1, 3), "kernel": st.sampled_from([3, 5])})
    data = json.loads(json.dumps(contract.to_json()))
    assert data["hyperparameters"]["kernel"] == {"kind": "free", "strategy": "sampled_from([3, 5])"}
    assert set(Contract.from_json(data).hyperparameters) == {"hidden_size"}


def test_letters_follow_the_roles_that_arguments_play() -> None:
    contract = Contract(
        roles={
            "input_size": "n_in",
            "hidden_size": "units",
            "num_layers": "depth",
            "bidirectional": "bidir",
            "output_size": "classes",
        }
    )
    sizes = contract.sizes({"n_in": 3, "units": 5, "depth": 2, "bidir": True, "classes": 7}, seq_len=11, batch=13)
    assert sizes == {
        "n_in": 3, "units": 5, "depth": 2, "classes": 7,
        "I": 3, "H": 5, "L": 2, "D": 2, "O": 7, "P": 5, "T": 11, "B": 13,
    }  # fmt: skip


def test_without_layers_or_directions_there_is_one_of_each() -> None:
    sizes = TORCH["GRUCell"].sizes({"input_size": 3, "hidden_size": 5, "bias": True}, 1, 4)
    assert (sizes["L"], sizes["D"], sizes["P"]) == (1, 1, 5)


def test_the_output_is_as_wide_as_the_projection_where_there_is_one() -> None:
    lstm = TORCH["LSTM"]
    plain = {"input_size": 3, "hidden_size": 5, "proj_size": 0}
    assert lstm.sizes(plain, 1, 1)["P"] == 5
    assert lstm.sizes({**plain, "proj_size": 2}, 1, 1)["P"] == 2


def test_a_flag_is_no_size() -> None:
    assert "batch_first" not in TORCH["LSTM"].sizes({"batch_first": True, "hidden_size": 5}, 1, 1)


def test_batch_first_swaps_input_and_output_and_leaves_the_state_alone() -> None:
    rules = TORCH["LSTM"].rules({"batch_first": True})
    assert (str(rules.input), str(rules.output)) == ("B T I", "B T D*P")
    assert [str(rule) for rule in rules.state] == ["L*D B P", "L*D B H"]


def test_a_batch_first_argument_that_does_nothing_is_no_role_and_swaps_nothing() -> None:
    contract = Contract(hyperparameters={"batch_first": booleans()}, input="B T I", output="B T H")
    assert str(contract.rules({"batch_first": True}).input) == "B T I"


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_unbatched_call_has_no_batch_axis_anywhere(batch_first: bool) -> None:
    rules = TORCH["LSTM"].rules({"batch_first": batch_first}, batched=False)
    assert (str(rules.input), str(rules.output)) == ("T I", "T D*P")
    assert [str(rule) for rule in rules.state] == ["L*D P", "L*D H"]
    cell = TORCH["GRUCell"].rules({}, batched=False)
    assert (str(cell.input), cell.output, str(cell.state)) == ("I", None, "H")


@pytest.mark.parametrize(
    ("constraint", "holds", "breaks"),
    [
        ("proj_size < hidden_size", {"proj_size": 1, "hidden_size": 2}, {"proj_size": 2, "hidden_size": 2}),
        ("a <= b", {"a": 2, "b": 2}, {"a": 3, "b": 2}),
        ("a == b", {"a": 2, "b": 2}, {"a": 3, "b": 2}),
        ("dim % heads", {"dim": 6, "heads": 3}, {"dim": 6, "heads": 4}),
        ("dim % heads", {"dim": 6, "heads": 3}, {"dim": 6, "heads": 0}),
        ("hidden_size % 4", {"hidden_size": 8}, {"hidden_size": 6}),
    ],
)
def test_a_constraint_holds_or_is_named(constraint: str, holds: dict[str, int], breaks: dict[str, int]) -> None:
    contract = Contract(constraints=("1 <= 2", constraint))
    assert contract.broken_constraint(holds) is None
    assert contract.broken_constraint(breaks) == constraint


def test_a_constraint_on_what_is_not_known_yet_is_not_broken() -> None:
    contract = Contract(constraints=("proj_size < hidden_size",))
    assert contract.broken_constraint({"proj_size": 9}) is None


@pytest.mark.parametrize("text", ["proj_size > hidden_size", "a < b < c", "a", "a + b == c", ""])
def test_a_constraint_that_cannot_be_read_is_refused_with_what_can_be(text: str) -> None:
    with pytest.raises(ValueError, match="cannot read the constraint") as caught:
        Contract(constraints=(text,))
    assert str(caught.value) == (
        f"cannot read the constraint {text!r}: write 'a < b', 'a <= b', 'a == b' or 'a % b' (b divides a)"
    )


def test_an_unknown_convention_is_refused() -> None:
    known = "rnn, cell, model, lengths, stateful, or an adapter"
    with pytest.raises(ValueError, match=rf"^convention must be one of {known} \(got 'sequence'\)$"):
        Contract(convention="sequence")


@pytest.mark.parametrize("field", ["input", "output", "state"])
def test_a_rule_that_cannot_be_read_is_refused_when_the_contract_is_made(field: str) -> None:
    with pytest.raises(ValueError, match="cannot read dimension"):
        Contract(**{field: "T B H!"})


def test_a_state_that_is_no_structure_of_rules_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a state is a shape rule, or a tuple, list or dict of them, .*\(got int\)"):
        Contract(state=("B H", 3))


@given(STRUCTURES)
def test_mapping_a_structure_keeps_its_form(structure: Any) -> None:
    assert map_structure(str, parse_structure(structure)) == structure


def test_parsed_rules_may_stand_in_a_structure() -> None:
    rule = ShapeRule.parse("B H")
    assert parse_structure((rule, "B H")) == (rule, rule)


def test_domains_list_their_values_simplest_first() -> None:
    assert integers(1, 3) == Domain("size", (1, 2, 3))
    assert integers(0, 2) == Domain("count", (0, 1, 2))
    assert booleans() == Domain("flag", (False, True))
    assert booleans(simplest=True) == Domain("flag", (True, False))
    assert probabilities(0.0, 0.5) == Domain("probability", (0.0, 0.5))


def test_a_domain_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="a domain needs at least one value"):
        choices()
    with pytest.raises(ValueError, match=r"integers\(3, 2\): the lower bound is above the upper one"):
        integers(3, 2)


def test_no_argument_name_plays_two_roles() -> None:
    names = [name for row in ROLE_NAMES.values() for name in row]
    assert len(names) == len(set(names))
    assert all(row[0] == role for role, row in ROLE_NAMES.items())


def test_evidence_is_added_and_never_replaced() -> None:
    assert Contract(evidence=("one",)).with_evidence("two", "three").evidence == ("one", "two", "three")


class RefusedError(Exception):
    """What a user's module raises for bad input."""


def test_a_worker_process_gets_the_exceptions_that_count_as_a_rejection() -> None:
    contract = Contract(rejects=(RefusedError, ValueError))
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))).rejects == (RefusedError, ValueError)
    with pytest.raises(TargetError, match=r"the contract's rejects: .* top level of a module"):
        Contract(rejects=(type("Local", (Exception,), {}),)).to_json()
