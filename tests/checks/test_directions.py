"""Layers and directions: which half, which row, which weights."""

from __future__ import annotations

import re
from typing import Any

import pytest
from check_runs import finding, not_applicable, outcome, outcomes, trial
from torch import nn

from rnn_props import zoo
from rnn_props.cases import Source
from rnn_props.inference import infer_contract
from rnn_props.zoo.drop_ins import PlainGRU
from rnn_props.zoo.recurrent import Steps

CODES = ("RP209", "RP305", "RP306")
SIX = ("RNN", "GRU", "LSTM", "PlainRNN", "PlainGRU", "PlainLSTM")
VALUES = {
    "input_size": 3, "hidden_size": 4, "num_layers": 2, "bias": True, "batch_first": False, "dropout": 0.0,
    "bidirectional": True,
}  # fmt: skip
ONE_ROW = "discarded: there is one row"


def _target(name: str) -> Any:
    return getattr(nn, name, None) or getattr(zoo, name)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize("seed", [0, 1])
def test_correct_layers_pass(code: str, name: str, seed: int) -> None:
    found = outcomes(code, _target(name), seed=seed)
    assert set(found) <= {"passed", ONE_ROW}
    assert found.count("passed") >= len(found) / 2


@pytest.mark.parametrize(
    "name", [name for name, specimen in zoo.BUGS.items() if specimen.module.__module__.endswith("bugs_directions")]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_bug_is_seen_under_every_seed(name: str, seed: int) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code in CODES
    assert finding(str(specimen.code), specimen.module, profile="default", seed=seed)


def test_a_message_names_the_half_and_the_place_in_the_whole_output() -> None:
    t = trial(
        zoo.BUGS["BackwardHalfOneStepLate"].module,
        hyperparameters={**VALUES, "num_layers": 1, "nonlinearity": "tanh"},
        seq_len=13,
        batch=2,
        picks=(6,),
    )
    found = re.match(
        r"after a change of the inputs before step (\d+): backward half of the output\[T=(\d+), B=\d, D\*P=(\d)\]: ",
        outcome("RP305", t),
    )
    assert found is not None
    first, step, feature = map(int, found.groups())
    assert step >= first
    assert feature >= 4


def test_halves_that_are_exchanged_are_seen() -> None:
    class BackwardFirst(PlainGRU):
        def join_directions(self, forward: Steps, backward: Steps) -> Steps:
            return super().join_directions(backward, forward)

    contract = infer_contract(nn.GRU)
    assert "half of the output" in finding("RP305", BackwardFirst, contract)


def test_a_message_names_the_layer_the_direction_and_the_row() -> None:
    t = trial(
        zoo.BUGS["SwapsUpperDirectionWeights"].module,
        hyperparameters={**VALUES, "proj_size": 0},
        seq_len=3,
        batch=2,
        state=Source("normal", 1),
    )
    assert outcome("RP209", t).startswith("layer 1, forward, against that layer alone: h_n[2][")


def test_one_row_has_nothing_to_be_compared_with() -> None:
    values = {**VALUES, "num_layers": 1, "bidirectional": False}
    assert outcome("RP209", trial(nn.GRU, hyperparameters=values, seq_len=2, state=Source())) == ONE_ROW


def test_a_module_that_is_there_already_is_not_taken_apart() -> None:
    module = nn.GRU(3, 4, 2, bidirectional=True)
    contract = infer_contract(module)
    values = {name: domain.values[0] for name, domain in contract.hyperparameters.items()}
    t = trial(module, contract, hyperparameters=values, seq_len=3, batch=2, state=Source(), picks=(1,))
    assert outcome("RP209", t) == "discarded: it can't be built with one layer and one direction"
    assert outcome("RP306", t) == "passed"


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_projections_and_batch_first_are_taken_apart_alike(batch_first: bool, proj_size: int) -> None:
    t = trial(
        nn.LSTM,
        hyperparameters={**VALUES, "num_layers": 3, "batch_first": batch_first, "proj_size": proj_size},
        seq_len=5,
        batch=3,
        state=Source("normal", 2),
        picks=(1,),
    )
    assert [outcome(code, t) for code in ("RP209", "RP306")] == ["passed", "passed"]


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        ("RP209", "GRUCell", "a cell makes one step: there is no sequence to cut"),
        ("RP305", "LSTMModel", "it neither takes nor returns a state"),
        ("RP306", "GRUCell", "a cell makes one step: there is no sequence to cut"),
    ],
)
def test_what_has_no_layers_and_directions_is_let_be(code: str, name: str, reason: str) -> None:
    assert not_applicable(code, infer_contract(_target(name))) == reason
