"""check, assert_conforms and checks_for, on classes of this very file and on names."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

import rnn_props
from rnn_props.api import target_name

QUICK: dict[str, Any] = {"profile": "quick", "seed": 0}


class Correct(nn.GRU):
    """A drop-in that adds nothing."""


class Widens(nn.GRU):
    """Its output is float32, whatever goes in."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        output, hx = super().forward(input, hx)
        return output.float(), hx


def test_a_class_of_a_test_file_is_found_by_its_name() -> None:
    report = rnn_props.check(Correct, checks=("RP1*",), **QUICK)
    assert report.exit_status == 0
    assert report.targets[0].ran >= 6


def test_assert_conforms_raises_with_code_and_name_first() -> None:
    rnn_props.assert_conforms(Correct, checks=("RP105",), **QUICK)
    with pytest.raises(AssertionError) as caught:
        rnn_props.assert_conforms(Widens, checks=("RP105",), **QUICK)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("RP105 type.dtype: output: expected torch.float64, got torch.float32")
    assert any("Case(hyperparameters=" in line for line in lines)


def test_an_unusable_target_is_an_error_and_not_a_failure() -> None:
    with pytest.raises(rnn_props.TargetError, match=r"no attribute 'LTSM'; did you mean 'LSTM'\?"):
        rnn_props.assert_conforms("torch.nn:LTSM", **QUICK)


def test_checks_for_gives_checks_to_call_one_at_a_time() -> None:
    checks = rnn_props.checks_for(Widens, checks=("RP105", "RP107"), **QUICK)
    assert [str(check) for check in checks] == ["RP105-type.dtype", "RP107-shape.parameters"]
    with pytest.raises(AssertionError, match=r"^RP105 type\.dtype: "):
        checks[0]()
    assert checks[1]().status == "passed"


def test_a_class_inside_a_function_has_no_name_to_import_it_by() -> None:
    class Local(nn.GRU):
        pass

    with pytest.raises(rnn_props.TargetError, match="at the top level of a module"):
        target_name(Local)
    with pytest.raises(rnn_props.TargetError, match="has no name to import it by"):
        target_name(nn.GRU(1, 1))


def test_torchs_own_classes_keep_their_short_name() -> None:
    assert target_name(nn.LSTM) in ("torch.nn:LSTM", "torch.nn.modules.rnn:LSTM")
