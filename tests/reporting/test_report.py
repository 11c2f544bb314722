from __future__ import annotations

import json
import math
from typing import Any

import pytest
from sample_results import CASE, CONTRACT, ENVIRONMENT, FAILED, LSTM, MIXED, PASSED, UNUSABLE, events, finding, result
from sample_results import target as target_of

from rnn_props.execution.events import CheckFinished, Event, RunStarted
from rnn_props.execution.outcomes import CheckResult, Status, TargetResult
from rnn_props.reporting import Report, ReportBuilder, environment

BROKEN = target_of(LSTM, result("RP101", "shape.output"), result("RP505", "mode.globals", "error"))
NOTHING = target_of(LSTM, result("RP101", "shape.output", "not_applicable"))
WARNED = target_of(LSTM, result("RP402", "reject.state", "warned", findings=(finding(status="warned"),)))


def built(run: list[Event], *, strict: bool = False) -> Report:
    builder = ReportBuilder(ENVIRONMENT, strict=strict)
    for event in run:
        builder(event)
    return builder.report()


@pytest.mark.parametrize(
    ("targets", "status"),
    [
        ((PASSED,), 0),
        ((WARNED,), 0),
        ((PASSED, NOTHING), 0),
        ((FAILED,), 1),
        ((FAILED, UNUSABLE), 1),
        ((UNUSABLE,), 2),
        ((PASSED, UNUSABLE), 2),
        ((BROKEN,), 2),
        ((NOTHING,), 3),
        ((), 3),
    ],
)
def test_the_exit_status_is_that_of_the_worst_that_happened(targets: tuple[TargetResult, ...], status: int) -> None:
    assert Report(targets=targets).exit_status == status


def test_an_interrupt_outranks_everything() -> None:
    assert Report(targets=(FAILED, UNUSABLE), interrupted=True).exit_status == 130


def test_advice_is_a_failure_only_if_strict() -> None:
    assert Report(targets=(WARNED,), strict=True).exit_status == 1


def test_the_report_of_a_run_has_its_targets_in_the_order_of_the_command_line() -> None:
    report = built(events(FAILED, PASSED, UNUSABLE))
    assert [target.target for target in report.targets] == [FAILED.target, PASSED.target, UNUSABLE.target]
    assert (report.profile, report.seed, report.duration_s, report.interrupted) == ("default", 7, 6.3, False)


def test_the_report_of_an_interrupted_run_has_what_was_found_until_then() -> None:
    run = events(PASSED, FAILED, interrupted=True, finish=False)
    started = run[0]
    assert isinstance(started, RunStarted)
    run[0] = RunStarted((*started.targets, "never:Reached"), 13, "default", 7, 2)
    report = built(run)
    assert report.interrupted
    whole, partial, missing = report.targets
    assert whole == PASSED
    assert partial.status == "failed"
    assert partial.results == MIXED
    assert partial.contract == CONTRACT.to_json()
    assert partial.message == "interrupted: 0 of its 13 checks have no result"
    assert (missing.status, missing.message) == ("skipped", "not started")


def test_a_target_without_a_fault_so_far_has_not_passed_when_it_is_interrupted() -> None:
    run = events(PASSED, interrupted=True, finish=False)
    cut = [event for event in run if not (isinstance(event, CheckFinished) and event.result.code == "RP101")]
    (partial,) = built(cut).targets
    assert partial.status == "skipped"
    assert partial.message == "interrupted: 1 of its 2 checks have no result"


def test_a_run_without_an_end_counts_as_interrupted() -> None:
    assert built(events(PASSED)[:-1]).exit_status == 130


def test_a_result_in_the_document_has_the_fields_of_its_first_finding() -> None:
    data = built(events(FAILED)).to_json()["targets"][0]["results"]
    assert [row["code"] for row in data] == sorted(row["code"] for row in data)
    row = next(row for row in data if row["code"] == "RP201")
    assert row["case"] == CASE.to_json()
    assert row["case_id"] == CASE.case_id
    assert row["message"].startswith("chunks of 1 and 1")
    assert (row["expected"], row["actual"], row["reproducer"]) == ("0.128374651", "-0.400128", "")
    assert len(row["findings"]) == 2


def test_a_result_without_a_finding_has_empty_texts_and_no_case() -> None:
    row: dict[str, Any] = built(events(PASSED)).to_json()["targets"][0]["results"][1]
    assert (row["message"], row["case"], row["case_id"], row["findings"]) == ("", None, None, [])


def test_numbers_that_json_does_not_have_are_strings() -> None:
    case = {"input": {"fill": "values", "values": (math.nan, math.inf, -math.inf, 1.5)}}
    odd: tuple[CheckResult, ...] = (result("RP201", "state.continuity", "failed", findings=(finding(case=case),)),)
    data = built(events(target_of(LSTM, *odd))).to_json()
    assert data["targets"][0]["results"][0]["case"]["input"]["values"] == ["nan", "inf", "-inf", 1.5]
    json.dumps(data, allow_nan=False)


def test_the_counts_add_up_to_the_results() -> None:
    data = built(events(FAILED)).to_json()["targets"][0]
    found: list[Status] = [row["status"] for row in data["results"]]
    assert data["counts"] == {status: found.count(status) for status in data["counts"]}
    assert sum(data["counts"].values()) == len(MIXED)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), ("", False), ("false", False), ("0", False), ("1", True)]
)
def test_the_environment_knows_continuous_integration(
    value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", value)
    assert environment()["ci"] is expected


def test_the_environment_has_the_keys_that_the_samples_have() -> None:
    assert list(environment()) == list(ENVIRONMENT)
