"""check, assert_conforms and checks_for, on classes of this very file and on names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis.database import InMemoryExampleDatabase
from torch import Tensor, nn

import rnn_props
from rnn_props.api import TargetChecks, target_name
from rnn_props.execution.jobs import case_key
from rnn_props.options import Options

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


def test_an_expected_failure_is_none_and_a_stale_one_is_told() -> None:
    known = {"type.dtype": "float32 by design", "RP107": "long gone"}
    report = rnn_props.check(Widens, checks=("RP105", "RP107"), expected_failures=known, **QUICK)
    failed, stale = report.targets[0].results
    assert (failed.code, failed.status, failed.reason) == ("RP105", "expected_failure", "float32 by design")
    assert (stale.code, stale.status, stale.stale) == ("RP107", "passed", True)
    assert report.exit_status == 0
    assert report.targets[0].status == "passed"
    rnn_props.assert_conforms(Widens, checks=("RP105",), expected_failures={"RP105@cpu": "here alone"}, **QUICK)
    with pytest.raises(AssertionError, match=r"^RP107 shape\.parameters: was expected to fail, and no longer does"):
        rnn_props.assert_conforms(Widens, checks=("RP105", "RP107"), expected_failures=known, **QUICK)


def test_a_class_inside_a_function_has_no_name_to_import_it_by() -> None:
    class Local(nn.GRU):
        pass

    with pytest.raises(rnn_props.TargetError, match="at the top level of a module"):
        target_name(Local)
    with pytest.raises(rnn_props.TargetError, match="has no name to import it by"):
        target_name(nn.GRU(1, 1))


class Slices(nn.GRU):
    """It takes inputs that are too wide."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(input[..., : self.input_size], hx)


def test_failures_are_kept_in_the_database_that_is_given_and_one_fault_forgets_no_other() -> None:
    database = InMemoryExampleDatabase()
    with TargetChecks(Slices, Options(profile="quick", jobs=1, database=database)) as checks:
        key = case_key(checks.target, "RP401")
        assert checks.run_alone("RP401").status == "failed"
        kept = set(database.fetch(key))
        assert len(kept) == 1
        assert checks.run_alone("RP401", "input.features_less").status in ("passed", "warned")
        assert set(database.fetch(key)) == kept
        again = checks.run_alone("RP401", "input.features_more")
        assert (again.status, again.replayed) == ("failed", 1)


def test_a_failure_that_is_not_made_smaller_is_the_case_that_was_found() -> None:
    options: dict[str, Any] = {**QUICK, "checks": ("RP105",), "max_examples": 8}
    small, found = (rnn_props.check(Widens, shrink=shrink, **options).targets[0].results[0] for shrink in (True, False))
    assert small.findings[0].case["hyperparameters"]["hidden_size"] == 1
    assert small.until_failure == found.until_failure
    assert len(found.findings[0].case_repr) >= len(small.findings[0].case_repr)


INSTANCE = nn.GRU(1, 1)
FACTORY = lambda input_size, hidden_size: nn.GRU(input_size, hidden_size)  # noqa: E731


def test_what_a_global_variable_holds_is_found_by_that_name() -> None:
    assert target_name(INSTANCE).endswith("test_python_api:INSTANCE")
    assert target_name(FACTORY).endswith("test_python_api:FACTORY")


def test_torchs_own_classes_keep_their_short_name() -> None:
    assert target_name(nn.LSTM) in ("torch.nn:LSTM", "torch.nn.modules.rnn:LSTM")
