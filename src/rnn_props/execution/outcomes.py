"""What a run found, as data: one result a check and device, one finding a distinct violation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Status = Literal[
    "passed", "failed", "warned", "blocked", "not_applicable", "skipped", "expected_failure", "error"
]  # fmt: skip

#: In the order in which a summary counts them.
STATUSES: tuple[Status, ...] = (
    "passed", "failed", "warned", "error", "expected_failure", "blocked", "not_applicable", "skipped",
)  # fmt: skip
#: Statuses of checks that ran to an end.
RAN = frozenset({"passed", "failed", "warned", "expected_failure"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation, with its shrunk case.

    Attributes:
        kind: `violated`, `raised`, `accepted`, `accidental`, `crashed` or `hung`.
        status: what it counts as: `failed` or `warned`.
        message: what is wrong, with expected and actual.
        fault: the deliberate defect, or "".
        signal: the name of the signal that killed the process, such as `SIGSEGV`, or "".
        where: the user's own line, where one is known.
        case: the shrunk case as JSON data; `case_repr` is the code that rebuilds it.
        inherited_from_torch: torch's own module of the same contract does the same.
    """

    kind: str
    status: Status
    message: str
    expected: str = ""
    actual: str = ""
    fault: str = ""
    signal: str = ""
    where: str = ""
    case: Mapping[str, Any] = field(default_factory=dict)
    case_id: str = ""
    case_repr: str = ""
    inherited_from_torch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """How one check went on one device.

    Attributes:
        examples: cases that were run to a verdict, shrinking not counted.
        discarded: cases from which nothing could be concluded.
        until_failure: of the examples, those up to and with the first that is charged to the target; 0 without one.
        replayed: stored failures that were run first.
        errors: the largest error of `output`, `state` and `gradients` in units of what rounding explains, where the
            check measures that.
        reason: why it did not run, is not applicable, or was expected to fail.
        expected_failure: why it was expected to fail, or "".
        findings: distinct violations, the most telling first.
        further: those of other faults beyond the most that are made smaller and shown.
    """

    code: str
    check: str
    statement: str
    status: Status
    device: str = "cpu"
    examples: int = 0
    discarded: int = 0
    until_failure: int = 0
    replayed: int = 0
    errors: Mapping[str, float] = field(default_factory=dict)
    duration_s: float = 0.0
    time_in_target_s: float = 0.0
    reason: str = ""
    hint: str = ""
    expected_failure: str = ""
    findings: tuple[Finding, ...] = ()
    further: tuple[Finding, ...] = ()

    @property
    def stale(self) -> bool:
        """Whether it was expected to fail, ran, and did not."""
        return bool(self.expected_failure) and self.status in ("passed", "warned")

    @property
    def wrong(self) -> bool:
        """Whether a test that runs it has to fail: it failed, it broke, or the expectation that it fails is stale."""
        return self.status in ("failed", "error") or self.stale

    def expecting(self, reason: str) -> CheckResult:
        """The result of a check that was expected to fail: a failure is then an expected one."""
        if self.status == "failed":
            return replace(self, status="expected_failure", reason=reason, expected_failure=reason)
        return replace(self, expected_failure=reason)

    @property
    def key(self) -> str:
        """What tells it from other results of a target: the code, and the device where that is not the CPU."""
        return result_key(self.code, self.device)

    @property
    def message(self) -> str:
        return self.findings[0].message if self.findings else ""

    @property
    def inherited_from_torch(self) -> bool:
        """Whether everything that was found is torch's own doing."""
        return bool(self.findings) and all(finding.inherited_from_torch for finding in self.findings)


def result_key(code: str, device: str) -> str:
    """`RP201` on the CPU, `RP802@sim` elsewhere."""
    return code if device == "cpu" else f"{code}@{device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What was found of one target.

    Attributes:
        status: `failed` if a check failed, `error` if the target can't be used or a check broke, `warned` if there is
            advice, `skipped` if nothing ran, else `passed`.
        message: why the target can't be used, or "".
        contract: the contract that it was held to, as JSON data.
        peak_memory_mb: the largest resident memory of a worker.
    """

    target: str
    status: Status
    message: str = ""
    contract: Mapping[str, Any] | None = None
    results: tuple[CheckResult, ...] = ()
    duration_s: float = 0.0
    peak_memory_mb: float = 0.0

    @property
    def time_in_target_s(self) -> float:
        return sum(result.time_in_target_s for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks ended with each status."""
        counted = Counter(result.status for result in self.results)
        return {status: counted[status] for status in STATUSES if counted[status]}

    @property
    def ran(self) -> int:
        return sum(result.status in RAN for result in self.results)


def target_status(results: tuple[CheckResult, ...]) -> Status:
    """The status of a target from those of its checks."""
    found = {result.status for result in results}
    worst: tuple[Status, ...] = ("failed", "error", "warned")
    for status in worst:
        if status in found:
            return status
    return "passed" if found & RAN else "skipped"
