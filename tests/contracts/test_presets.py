"""The contracts of torch.nn's modules, held against torch.nn itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rnn_props.cases.strategies import hyperparameters
from rnn_props.contracts import Contract, map_structure
from rnn_props.contracts.presets import cell_contract, sequence_contract, torch_parameters
from rnn_props.inference import infer_contract
from rnn_props.subjects import kept_clean, map_tree

SEQUENCES = ("RNN", "LSTM", "GRU")
CELLS = ("RNNCell", "LSTMCell", "GRUCell")
CONTRACTS = {name: infer_contract(getattr(nn, name)) for name in (*SEQUENCES, *CELLS)}


def _build(name: str, values: dict[str, Any], **options: Any) -> nn.Module:
    with kept_clean():  # quiet: dropout with one layer warns
        module: nn.Module = getattr(nn, name)(**values, **options)
    return module


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_formula_gives_the_parameters_of_torchs_layers_for_all_options(name: str) -> None:
    projections = (0, 2) if name == "LSTM" else (None,)
    for layers, bias, both, proj in itertools.product((1, 2, 3), (True, False), (True, False), projections):
        values = {"input_size": 3, "hidden_size": 5, "num_layers": layers, "bias": bias, "bidirectional": both}
        values |= {} if proj is None else {"proj_size": proj}
        expected = _shapes(_build(name, values, device="meta"))
        found = torch_parameters(CONTRACTS[name], values)
        assert found == expected, values
        assert list(found) == list(expected), values


@pytest.mark.parametrize("name", CELLS)
def test_the_formula_gives_the_parameters_of_torchs_cells(name: str) -> None:
    for bias in (True, False):
        values = {"input_size": 3, "hidden_size": 5, "bias": bias}
        assert list(torch_parameters(CONTRACTS[name], values).items()) == list(
            _shapes(_build(name, values, device="meta")).items()
        )


def test_a_contract_that_is_not_torchs_has_no_documented_parameters() -> None:
    with pytest.raises(ValueError, match="the contract is not that of a torch module"):
        torch_parameters(Contract(), {})


@pytest.mark.parametrize("name", CONTRACTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_rules_are_the_shapes_that_torch_returns(name: str, data: st.DataObject) -> None:
    contract = CONTRACTS[name]
    values = data.draw(hyperparameters(contract))
    steps, batch = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 4))
    batched = data.draw(st.booleans())
    sizes = contract.sizes(values, steps, batch if batched else 1)
    rules = contract.rules(values, batched=batched)
    module = _build(name, values)
    state = map_structure(lambda rule: torch.zeros(rule.shape(sizes)), rules.state)
    for given_state in ((), (state,)):
        with torch.no_grad():
            returned = module(torch.zeros(rules.input.shape(sizes)), *given_state)
        output, final = (None, returned) if contract.convention == "cell" else returned
        assert map_tree(lambda leaf: tuple(leaf.shape), final) == map_structure(
            lambda rule: rule.shape(sizes), rules.state
        )
        assert (None if output is None else tuple(output.shape)) == (
            None if rules.output is None else rules.output.shape(sizes)
        )


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_value_of_every_argument_is_one_that_torch_takes(name: str) -> None:
    contract = CONTRACTS[name]
    simplest = {argument: domain.values[0] for argument, domain in contract.hyperparameters.items()}
    for argument, domain in contract.hyperparameters.items():
        for value in domain.values:
            values = {**simplest, "hidden_size": 7, argument: value}
            if contract.broken_constraint(values) is None:
                _build(name, values, device="meta")


def test_a_constructor_with_few_arguments_is_held_to_those_alone() -> None:
    contract = sequence_contract("LSTM", ["input_size", "hidden_size", "batch_first"], full=False)
    assert set(contract.hyperparameters) == {"input_size", "hidden_size", "batch_first"}
    assert contract.constraints == ()
    able = contract.capabilities
    assert (able.batch_first, able.bidirectional, able.proj, able.factory) == (True, False, False, False)
    assert not able.torch_contract
    cell = cell_contract("GRUCell", ["input_size", "hidden_size"], full=False)
    assert set(cell.hyperparameters) == {"input_size", "hidden_size"}
    assert not cell.capabilities.unbatched


def test_only_an_lstm_has_projections_and_only_an_rnn_a_nonlinearity() -> None:
    names = ["input_size", "hidden_size", "proj_size", "nonlinearity"]
    for name in SEQUENCES:
        contract = sequence_contract(name, names, full=False)
        assert ("proj_size" in contract.hyperparameters) == (name == "LSTM")
        assert ("nonlinearity" in contract.hyperparameters) == (name == "RNN")
