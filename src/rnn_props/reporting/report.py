"""The report: everything one run found, as data. Every output format is written from it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnn_props import __version__
from rnn_props.execution.events import (
    CheckFinished,
    ContractSettled,
    DeviceReady,
    Event,
    RunFinished,
    RunStarted,
    TargetFinished,
    TargetStarted,
)
from rnn_props.execution.outcomes import CheckResult, Finding, TargetResult, target_status
from rnn_props.reporting.causes import same_cause

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run found.

    Attributes:
        environment: what it ran on, as `rnn_props.reporting.environment()` gives it.
        seed: the seed that repeats the run.
        interrupted: the run did not come to its end; what is here was found until then.
        strict: advice, and what is inherited from torch, counts as a failure.
    """

    environment: Mapping[str, Any] = field(default_factory=dict)
    profile: str = "default"
    seed: int = 0
    duration_s: float = 0.0
    targets: tuple[TargetResult, ...] = ()
    interrupted: bool = False
    strict: bool = False
    schema: int = SCHEMA
    rnn_props: str = __version__

    @property
    def exit_status(self) -> int:
        """The exit status of the command line. The first that applies:

        - 130: the run was interrupted;
        - 1: a check failed (with `strict`: or warned);
        - 2: a target can't be used, or a check broke (an error of ours);
        - 3: nothing ran;
        - 0: nothing failed.

        A failure outranks an error: it is what the user can act on, and it stays found whatever else went wrong.
        """
        results = [result for target in self.targets for result in target.results]
        bad = {"failed", "warned"} if self.strict else {"failed"}
        if self.interrupted:
            return 130
        if any(result.status in bad for result in results):
            return 1
        if "error" in {*(target.status for target in self.targets), *(result.status for result in results)}:
            return 2
        return 0 if any(target.ran for target in self.targets) else 3

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data, as `load_schema()` describes it. NaN and infinities are the strings `"nan"`,
        `"inf"` and `"-inf"`, which JSON has no numbers for."""
        data: dict[str, Any] = _json(
            {
                "schema": self.schema,
                "rnn_props": self.rnn_props,
                "environment": self.environment,
                "profile": self.profile,
                "seed": self.seed,
                "strict": self.strict,
                "duration_s": round(self.duration_s, 3),
                "interrupted": self.interrupted,
                "exit_status": self.exit_status,
                "targets": [_target_json(target) for target in self.targets],
            }
        )
        return data


def _target_json(target: TargetResult) -> dict[str, Any]:
    told = same_cause(target.results)
    return {
        "target": target.target,
        "status": target.status,
        "message": target.message,
        "contract": target.contract,
        "duration_s": round(target.duration_s, 3),
        "time_in_target_s": round(target.time_in_target_s, 3),
        "peak_memory_mb": round(target.peak_memory_mb, 1),
        "counts": target.counts,
        "results": [
            _result_json(result, told.get((result.code, result.device), "")) for result in in_order(target.results)
        ],
    }


def _result_json(result: CheckResult, same_cause_as: str) -> dict[str, Any]:
    first = result.findings[0] if result.findings else Finding(kind="", status=result.status, message="")
    return {
        "code": result.code,
        "check": result.check,
        "statement": result.statement,
        "device": result.device,
        "status": result.status,
        "examples": result.examples,
        "discarded": result.discarded,
        "replayed": result.replayed,
        "errors": {kind: round(size, 4) for kind, size in result.errors.items()},
        "duration_s": round(result.duration_s, 4),
        "time_in_target_s": round(result.time_in_target_s, 4),
        "reason": result.reason,
        "expected_failure": result.expected_failure or None,
        "stale": result.stale,
        "message": first.message,
        "expected": first.expected,
        "actual": first.actual,
        "case": first.case or None,
        "case_id": first.case_id or None,
        "reproducer": "",
        "hint": result.hint,
        "inherited_from_torch": result.inherited_from_torch,
        "same_cause_as": same_cause_as,
        "findings": [_finding_json(finding) for finding in result.findings],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "status": finding.status,
        "message": finding.message,
        "expected": finding.expected,
        "actual": finding.actual,
        "fault": finding.fault,
        "signal": finding.signal,
        "where": finding.where,
        "case": finding.case or None,
        "case_id": finding.case_id or None,
        "case_repr": finding.case_repr,
        "inherited_from_torch": finding.inherited_from_torch,
    }


def in_order(results: tuple[CheckResult, ...]) -> list[CheckResult]:
    """Results by device and code: checks that run side by side finish in any order. `cpu` is the first device."""
    return sorted(results, key=lambda result: (result.device != "cpu", result.device, result.code))


def _json(value: Any) -> Any:
    """A value in the types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class Collector:
    """A listener that keeps the results of targets, those that an interrupt cut short too."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._started: dict[str, float] = {}
        self._contracts: dict[str, Mapping[str, Any]] = {}
        self._chosen: dict[str, int] = {}
        self._checks: dict[str, list[CheckResult]] = {}
        self._finished: dict[str, TargetResult] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(targets=targets):
                self._names = targets
            case TargetStarted(target=target):
                self._started[target] = time.monotonic()
            case ContractSettled(target=target, contract=contract, checks=checks):
                self._contracts[target] = contract
                self._chosen[target] = checks
            case CheckFinished(target=target, result=result):
                self._checks.setdefault(target, []).append(result)
            case TargetFinished(result=finished):
                self._finished[finished.target] = finished
            case _:
                pass

    def unfinished(self) -> list[TargetResult]:
        """What is known of the targets that did not come to their end, in the order of the command line."""
        return [self._partial(name) for name in self._all_names() if name not in self._finished]

    def results(self) -> tuple[TargetResult, ...]:
        """What is known of every target, in the order of the command line."""
        return tuple(self._finished.get(name) or self._partial(name) for name in self._all_names())

    def missing(self, name: str) -> int:
        """How many checks of a target have no result because the run did not come that far."""
        if name in self._finished:
            return 0
        return max(self._chosen.get(name, 0) - len(self._checks.get(name, ())), 0)

    def _all_names(self) -> list[str]:
        return list(dict.fromkeys((*self._names, *self._started, *self._finished)))

    def _partial(self, name: str) -> TargetResult:
        results = tuple(self._checks.get(name, ()))
        started, missing = self._started.get(name), self.missing(name)
        status = target_status(results)
        message = "not started" if started is None else "interrupted before its contract was known"
        if name in self._contracts:
            message = f"interrupted: {missing} of its {self._chosen[name]} checks have no result"
        return TargetResult(
            target=name,
            # Nothing wrong so far is not yet passed.
            status="skipped" if status == "passed" else status,
            message=message,
            contract=self._contracts.get(name),
            results=results,
            duration_s=0.0 if started is None else time.monotonic() - started,
        )


class ReportBuilder:
    """A listener that makes the report.

    Args:
        environment: what the run runs on.
        strict: whether advice counts as a failure.
    """

    def __init__(self, environment: Mapping[str, Any], *, strict: bool = False) -> None:
        self._environment = environment
        self._devices: dict[str, Mapping[str, Any]] = {}
        self._strict = strict
        self._collector = Collector()
        self._run: RunStarted | None = None
        self._end: RunFinished | None = None

    def __call__(self, event: Event) -> None:
        self._collector(event)
        if isinstance(event, RunStarted):
            self._run = event
        elif isinstance(event, RunFinished):
            self._end = event
        elif isinstance(event, DeviceReady):
            self._devices[event.device] = event.facts

    @property
    def started(self) -> bool:
        """Whether the run has begun."""
        return self._run is not None

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end, or was interrupted."""
        return self._end is not None

    def report(self) -> Report:
        """The report of what was found so far; without an end of the run it counts as interrupted."""
        return Report(
            environment={**self._environment, "devices": self._devices},
            profile=self._run.profile if self._run else "default",
            seed=self._run.seed if self._run else 0,
            duration_s=self._end.duration_s if self._end else 0.0,
            targets=self._collector.results(),
            interrupted=self._end is None or self._end.interrupted,
            strict=self._strict,
        )
