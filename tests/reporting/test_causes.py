"""Causes: which violation is told first, and which are told once."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from rnn_props.checks import all_checks, get
from rnn_props.checks.registry import depths, explaining
from rnn_props.execution.outcomes import CheckResult, Finding, TargetResult
from rnn_props.reporting.blocks import details
from rnn_props.reporting.causes import by_telling, same_cause


def _failed(code: str, *, where: str = "", error: str = "RuntimeError", device: str = "cpu") -> CheckResult:
    check = get(code)
    message = f"calling it in float64 raised {error}: shapes differ" if where else "output: expected 1, got 2"
    kind = "raised" if where else "violated"
    finding = Finding(kind=kind, status="failed", message=message, where=where)
    return CheckResult(
        code=code, check=check.name, statement=check.statement, status="failed", device=device, findings=(finding,)
    )


def test_no_checks_explain_each_other_in_a_circle_and_each_comes_after_what_it_rests_on() -> None:
    found = depths()
    assert set(found) == {check.code for check in all_checks()}
    for check in all_checks():
        assert set(check.after) <= set(found)
        for other in (*check.after, *explaining(check)):
            assert found[other] < found[check.code]
        for pattern in check.explained_by:
            assert any(fnmatchcase(code, pattern) for code in found)


def test_what_explains_comes_before_what_is_explained() -> None:
    results = [_failed("RPA01"), _failed("RP202"), _failed("RP201"), _failed("RP101")]
    assert [result.code for result in by_telling(results)] == ["RP101", "RP201", "RP202", "RPA01"]


def test_the_same_exception_at_the_same_line_is_one_cause() -> None:
    results = [_failed("RP301", where="model.py:7"), _failed("RP103", where="model.py:7")]
    assert same_cause(results) == {("RP301", "cpu"): "RP103"}


def test_other_lines_exceptions_and_devices_are_other_causes() -> None:
    first = _failed("RP103", where="model.py:7")
    assert same_cause([first, _failed("RP301", where="model.py:8")]) == {}
    assert same_cause([first, _failed("RP301", where="model.py:7", error="IndexError")]) == {}
    assert same_cause([first, _failed("RP301", where="model.py:7", device="sim")]) == {}
    assert same_cause([first, _failed("RP301"), _failed("RP302")]) == {}


def test_a_result_with_a_finding_of_its_own_is_told_in_full() -> None:
    first, second = _failed("RP103", where="model.py:7"), _failed("RP301", where="model.py:7")
    both = replace(second, findings=(*second.findings, *_failed("RP301").findings))
    assert same_cause([first, both]) == {}


def test_in_the_report_a_cause_is_told_once() -> None:
    results = (_failed("RP301", where="model.py:7"), _failed("RP103", where="model.py:7"))
    lines = [line.plain for line in details(TargetResult(target="m:M", status="failed", results=results), 100)]
    text = "\n".join(lines)
    assert text.count("shapes differ") == 1
    assert "RP301 batch.independence  FAILED  the same exception at the same line as in RP103" in text
