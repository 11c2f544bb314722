"""RP35x and RP407: packed sequences and lengths, on torch's modules and on the zoo."""

from __future__ import annotations

import pytest
from check_runs import finding, not_applicable, outcomes
from torch import nn

from rnn_props.inference import infer_contract
from rnn_props.zoo import BUGS, CORRECT

CODES = ("RP351", "RP352", "RP353", "RP354", "RP355", "RP407")
OURS = [specimen for specimen in BUGS.values() if specimen.code in CODES and specimen.name != "LengthsUnchecked"]


@pytest.mark.parametrize("code", ["RP351", "RP352", "RP353"])
@pytest.mark.parametrize("module", [nn.RNN, nn.GRU, nn.LSTM])
def test_torchs_layers_pass_and_something_was_run(code: str, module: type[nn.Module]) -> None:
    found = outcomes(code, module)
    assert set(found) == {"passed"}


@pytest.mark.parametrize("code", ["RP354", "RP355", "RP407"])
def test_correct_modules_with_lengths_pass(code: str) -> None:
    assert set(outcomes(code, CORRECT["PaddedGRU"].module)) <= {"passed"} | _DISCARDED
    for name in ("SentenceEncoder", "LengthsTagger"):
        if code != "RP355":
            assert set(outcomes(code, CORRECT[name].module)) <= {"passed"} | _DISCARDED


#: A length of zero is valid where rows of length zero are taken.
_DISCARDED = {"discarded: the fault makes no invalid call: valid a length is 0"}


@pytest.mark.parametrize("specimen", OURS, ids=lambda specimen: specimen.name)
def test_each_bug_is_found_and_the_rows_are_named(specimen: object) -> None:
    message = finding(specimen.code, specimen.module, profile="default")  # type: ignore[attr-defined]
    assert message
    if specimen.code in ("RP351", "RP352", "RP354", "RP355"):  # type: ignore[attr-defined]
        assert "lengths [" in message


def test_a_module_without_packed_sequences_or_lengths_is_not_judged() -> None:
    contract = infer_contract(CORRECT["LSTMModel"].module)
    for code in ("RP351", "RP352", "RP353"):
        assert not_applicable(code, contract) == "it takes no packed sequences"
    for code in ("RP354", "RP355"):
        assert not_applicable(code, contract) == "it takes no lengths"
    assert not_applicable("RP407", contract) == "it takes neither packed sequences nor lengths"


def test_rows_of_length_zero_are_asked_for_only_where_they_are_taken() -> None:
    contract = infer_contract(CORRECT["LengthsTagger"].module)
    assert not_applicable("RP355", contract) == "it takes no row of length zero"


def test_a_packed_result_in_another_order_names_the_row() -> None:
    message = finding("RP352", BUGS["StateComesBackSorted"].module, profile="default")
    assert "against the same rows sorted by hand: final state" in message
