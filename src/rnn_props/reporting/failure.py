"""The text of one check that failed: the message of an AssertionError, whose first line says it all."""

from __future__ import annotations

from collections.abc import Iterator

from rnn_props.execution.outcomes import CheckResult, Finding
from rnn_props.reporting.text import clean, wrap_code

_WIDTH = 100


def failure_text(result: CheckResult) -> str:
    """What is wrong, then for each finding the shrunk case as code, the user's own line, the hint, and where
    there is more to read.

    The first line is `RP201 state.continuity: message`. A check that was expected to fail and no longer does has
    two lines that say so.
    """
    if result.stale:
        return (
            f"{result.code} {result.check}: was expected to fail, and no longer does: take it out of "
            f"expected_failures\nreason given: {result.expected_failure}"
        )
    findings = [finding for finding in result.findings if finding.status == "failed"] or list(result.findings)
    first = findings[0].message if findings else result.reason
    lines = [f"{result.code} {result.check}: {clean(first)}"]
    for index, finding in enumerate(findings):
        if index:
            lines += ["", f"also: {clean(finding.message)}"]
        lines += _evidence(finding)
    if findings:
        lines += ["", f"rule: {result.statement}"]
    if result.hint:
        lines.append(f"hint: {result.hint}")
    lines.append(f"more: rnn-props explain {result.code}")
    return "\n".join(lines)


def _evidence(finding: Finding) -> Iterator[str]:
    if finding.expected or finding.actual:
        yield f"  expected: {clean(finding.expected)}"
        yield f"  actual:   {clean(finding.actual)}"
    if finding.where:
        yield f"  at {clean(finding.where)}"
    if finding.case_repr:
        yield f"  case {finding.case_id}:"
        yield from (f"    {line}" for line in wrap_code(finding.case_repr, _WIDTH - 4))
