"""Which violations have one cause, and which of them says most.

Most of a cascade never comes to a report: a check whose failure another one explains is blocked. What is left is told
in the order in which checks rest on and explain each other, and violations that are one exception of one line of the
user's are told once.
"""

from __future__ import annotations

from collections.abc import Iterable

from rnn_props.checks.registry import depths
from rnn_props.execution.outcomes import CheckResult


def by_telling(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Results by device, the most telling first: a check comes after those that it rests on or that explain it."""
    rank = depths()

    def place(result: CheckResult) -> tuple[bool, str, int, str]:
        return result.device != "cpu", result.device, rank.get(result.code, 0), result.code

    return sorted(results, key=place)


def same_cause(results: Iterable[CheckResult]) -> dict[tuple[str, str], str]:
    """For each failed check (code and device) that found nothing of its own, the code of the one that says it first.

    A finding is another's where the same exception comes out of the same line of the user's code.
    """
    first: dict[tuple[str, str, str], str] = {}
    found: dict[tuple[str, str], str] = {}
    for result in by_telling(results):
        if result.status != "failed" or not result.findings:
            continue
        keys = [
            (result.device, finding.where, finding.actual or _error(finding.message)) if finding.where else None
            for finding in result.findings
            if finding.status == "failed"
        ]
        told = [first.get(key) for key in keys if key is not None]
        if told and told[0] is not None and len(told) == len(keys) and None not in told:
            found[result.code, result.device] = told[0]
        for key in keys:
            if key is not None:
                first.setdefault(key, result.code)
    return found


def _error(message: str) -> str:
    """The type of the exception in `... raised TypeError: ...`."""
    return message.partition(" raised ")[2].partition(":")[0]
