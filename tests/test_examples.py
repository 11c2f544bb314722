"""The founding examples: each original has the bug that its text says, each corrected form has none."""

from __future__ import annotations

from pathlib import Path

import pytest

import rnn_props

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    "target",
    [
        "lstm_model.py:LSTMModel",
        pytest.param("multi_layer_lstm.py:MultiLayerLSTM", marks=pytest.mark.nightly),
        pytest.param("cell_loop.py:LSTMCellModel", marks=pytest.mark.nightly),
    ],
)
def test_zeros_of_float32_fail_in_float64_and_nothing_else_does(target: str) -> None:
    (result,) = rnn_props.check(f"{EXAMPLES}/{target}", profile="quick", seed=0).targets
    failed = [found for found in result.results if found.status == "failed"]
    assert [found.code for found in failed] == ["RP105"]
    finding = failed[0].findings[0]
    assert "must have the same dtype, but got Float and Double" in finding.message
    assert target.partition(":")[0] in finding.where
    assert set(finding.case["hyperparameters"].values()) == {1}


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("lstm_model.py:LSTMModelFixed", marks=pytest.mark.nightly),
        "multi_layer_lstm.py:MultiLayerLSTMFixed",
        pytest.param("cell_loop.py:LSTMCellModelFixed", marks=pytest.mark.nightly),
    ],
)
def test_the_corrected_forms_are_clean(target: str) -> None:
    (result,) = rnn_props.check(f"{EXAMPLES}/{target}", profile="quick", seed=0).targets
    assert result.status == "passed"
    assert result.ran >= 16


@pytest.mark.parametrize(("checks", "least"), [(("RP1*", "RP2*"), 15), pytest.param((), 41, marks=pytest.mark.nightly)])
def test_the_stack_with_a_size_for_each_layer_needs_no_option(checks: tuple[str, ...], least: int) -> None:
    target = f"{EXAMPLES}/stacked_sizes.py:StackedLSTM"
    (bare,) = rnn_props.check(target, profile="quick", seed=0, checks=checks).targets
    assert bare.status in ("passed", "warned")
    assert bare.ran >= least
