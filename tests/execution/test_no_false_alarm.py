"""Correct modules that other people might have written are accused of nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rnn_props

TARGETS = Path(__file__).with_name("ordinary_targets.py")


@pytest.mark.parametrize(
    ("name", "convention", "rules"),
    [
        ("BatchNormInside", "model", ("B T I", "B O")),
        ("AttentionPooling", "model", ("B T I", "B O")),
        ("CellWithRequiredState", "cell", ("B I", None)),
        pytest.param("BatchFirstByDefault", "rnn", ("T B I", "T B D*P"), marks=pytest.mark.nightly),
        ("MinimalGru", "model", ("B T I", "B T H")),
        pytest.param("ResidualStack", "model", ("B T I", "B T I"), marks=pytest.mark.nightly),
        ("StateSpace", "rnn", ("B T I", "B T I")),
        pytest.param("OneNumberARow", "model", ("B T I", "B"), marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_an_ordinary_module_is_understood_and_accused_of_nothing(
    name: str, convention: str, rules: tuple[str, str | None], seed: int
) -> None:
    (result,) = rnn_props.check(f"{TARGETS}:{name}", profile="quick", seed=seed).targets
    assert result.contract is not None
    assert (result.contract["convention"], result.contract["input"], result.contract["output"]) == (convention, *rules)
    assert [(found.code, found.message) for found in result.results if found.status in ("failed", "error")] == []
    assert result.ran >= 14


def test_a_width_that_the_user_names_is_tried_for_the_input() -> None:
    options: dict[str, Any] = {"profile": "quick", "seed": 0, "arguments": {"vocab_width": 4}}
    (result,) = rnn_props.check(f"{TARGETS}:UncommonWidthName", **options).targets
    assert result.status == "passed"


@pytest.mark.nightly
def test_a_drop_in_with_a_size_held_is_still_held_to_torchs_contract() -> None:
    (result,) = rnn_props.check(
        "rnn_props.zoo:PlainLSTM", profile="quick", seed=0, arguments={"hidden_size": 4}
    ).targets
    assert result.contract is not None
    assert result.contract["torch_module"] == "LSTM"
    assert result.status == "passed"
    assert {"RP101", "RP201", "RP351", "RP502", "RP601", "RP701", "RP901", "RPA01"} <= {
        found.code for found in result.results if found.status == "passed"
    }
