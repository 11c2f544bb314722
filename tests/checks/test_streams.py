"""RP213 and RP214: modules that keep their state, and orders of operations."""

from __future__ import annotations

import pytest
from check_runs import finding, not_applicable, outcomes
from torch import nn

from rnn_props.inference import infer_contract
from rnn_props.zoo import BUGS, CORRECT


@pytest.mark.parametrize("name", ["StreamingTagger", "StreamingSummary"])
@pytest.mark.parametrize("code", ["RP213", "RP214"])
def test_correct_streaming_modules_pass(code: str, name: str) -> None:
    found = outcomes(code, CORRECT[name].module)
    assert set(found) == {"passed"}


@pytest.mark.parametrize("module", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_torchs_modules_agree_with_recomputing_in_every_story(module: type[nn.Module]) -> None:
    assert set(outcomes("RP214", module)) == {"passed"}


@pytest.mark.parametrize("name", ["PaddedGRU", "PlainLSTM"])
def test_correct_modules_of_the_zoo_agree_with_recomputing(name: str) -> None:
    assert set(outcomes("RP214", CORRECT[name].module)) == {"passed"}


@pytest.mark.parametrize(
    "specimen", [bug for bug in BUGS.values() if bug.code in ("RP213", "RP214")], ids=lambda bug: bug.name
)
def test_each_bug_is_found(specimen: object) -> None:
    assert finding(specimen.code, specimen.module, profile="default")  # type: ignore[attr-defined]


def test_a_broken_story_reads_as_a_program() -> None:
    message = finding("RP214", BUGS["ReusesItsOwnState"].module, profile="default")
    first, *program = message.splitlines()
    assert "in one call: y" in first or "in one call: s" in first
    assert any(line.strip().startswith("y") and "= module(x" in line for line in program)


def test_a_module_without_state_has_no_stories() -> None:
    contract = infer_contract(CORRECT["LSTMModel"].module)
    assert not_applicable("RP214", contract) == "it neither takes nor returns a state"
    assert not_applicable("RP213", contract) == "it keeps no state between calls"
