"""A job: one check on one target, as a coroutine that asks for batches of cases and is sent their outcomes.

A job knows nothing of processes. What it yields and what it is sent decide its result, so a run gives the same report
on any number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rnn_props.cases import Case, shrink
from rnn_props.checks import Check
from rnn_props.contracts import Contract
from rnn_props.execution.outcomes import CheckResult, Finding, Status
from rnn_props.execution.profiles import Profile
from rnn_props.execution.worker import BAD

#: Cases that are sent to a worker at a time.
BATCH = 16
#: The most distinct findings of one check that are shrunk and shown.
MOST_FINDINGS = 12
#: Ends of a call whose arguments nobody looked at.
_UNCHECKED = frozenset({"accepted", "crashed", "hung"})
#: What to do about a contract that can't be used.
_CONTRACT_HINT = "This is not the module's failure: the contract says what can't be done. Correct the contract."
#: Candidates for a case that hangs, each of which costs a time limit.
_HANG_SHRINKS = 3
#: Candidates for a case that kills the process, each of which costs a worker.
_CRASH_SHRINKS = 60
#: Candidates for what torch does itself: it is told in a line, so it need not be the smallest.
_INHERITED_SHRINKS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case went: the kind, and the texts that a finding is made of.

    `in_torch` says that the process ended inside a call that torch.nn's own recurrent modules made; `errors` has the
    largest error of each kind of result, in units of its bound.
    """

    kind: str
    message: str = ""
    expected: str = ""
    actual: str = ""
    where: str = ""
    signal: str = ""
    advice: bool = False
    in_torch: bool = False
    errors: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    in_target: float = 0.0

    @property
    def bad(self) -> bool:
        return self.kind in BAD

    @property
    def fatal(self) -> bool:
        return self.kind in ("crashed", "hung")


@dataclass(frozen=True, slots=True)
class Batch:
    """Cases to run in order up to the first bad outcome.

    Attributes:
        reference: run them on torch's own module in place of the target.
        fresh: in a worker that has run nothing yet.
        time_limit_s: for one case.
        shrinking: whether this is a step of making a failure smaller.
    """

    cases: tuple[Case, ...]
    time_limit_s: float
    reference: bool = False
    fresh: bool = False
    shrinking: bool = False


Job = Generator[Batch, list[Outcome], CheckResult]


@dataclass(slots=True)
class _Tally:
    examples: int = 0
    discarded: int = 0
    until_failure: int = 0
    in_target: float = 0.0
    seconds: float = 0.0
    errors: dict[str, float] = field(default_factory=dict)
    stopped: str = ""
    why: str = ""

    def add(self, outcomes: Iterable[Outcome], *, counted: bool = True) -> None:
        for outcome in outcomes:
            self.in_target += outcome.in_target
            self.seconds += outcome.seconds
            if counted:
                for kind, size in outcome.errors.items():
                    self.errors[kind] = max(self.errors.get(kind, 0.0), size)
                if outcome.kind == "discarded":
                    self.discarded += 1
                    self.why = self.why or outcome.message
                else:
                    self.examples += 1


@dataclass
class CheckJob:
    """Runs one check.

    Attributes:
        check, contract, profile: what is run, under what, and how much of it.
        cases: in the order in which they are run.
        device: on which it runs.
        stored: cases that failed earlier, run first.
        is_torch: the target is torch's own module, so all that it does is torch's own doing.
    """

    check: Check
    contract: Contract
    profile: Profile
    cases: Sequence[Case]
    device: str = "cpu"
    stored: Sequence[Case] = ()
    is_torch: bool = False
    strict: bool = False
    tally: _Tally = field(default_factory=_Tally)

    def run(self) -> Job:
        """The coroutine."""
        check = self.check
        queue = [*self.stored, *self.cases]
        replayed = len(self.stored)
        if not queue:
            return self._result("not_applicable", (), 0, reason="no case of its contract meets what the check needs")
        findings: dict[tuple[str, bool, bool], tuple[Case, Outcome]] = {}
        errors: list[Outcome] = []
        fatal: list[Outcome] = []
        while queue and not errors:
            batch = tuple(queue[:BATCH])
            outcomes = yield self._batch(batch)
            self.tally.add(outcomes)
            del queue[: len(outcomes)]
            last, case = outcomes[-1], batch[len(outcomes) - 1]
            if not last.bad:
                if self._out_of_time(queue):
                    break
                continue
            if last.kind in ("error", "contract"):
                errors.append(last)
                continue
            key = _kind_of_fault(case) if check.each_fault else ""
            if last.fatal:
                if last.kind == "hung":
                    queue = []  # each further one would cost the whole time limit
                    self.tally.stopped = "stopped at a call that hangs"
                elsewhere = bool(check.needs.faults) and check.code != "RP408"
                if elsewhere and self.is_torch:
                    queue = self._left_to_rp408(queue, case)
                    continue
                confirmed = yield from self._confirmed(case, last)
                if confirmed is None:
                    fatal.append(last)
                    continue
                last = confirmed
            inherited = yield from self._inherited(case, last)
            if last.fatal and elsewhere and inherited:
                queue = self._left_to_rp408(queue, case)
                continue
            findings.setdefault((key, inherited, last.advice), (case, last))
            if not inherited and not self.tally.until_failure:
                self.tally.until_failure = self.tally.examples
            if not check.each_fault:
                if self.is_torch or not (inherited or last.advice) or self._out_of_time(queue):
                    break
                continue  # torch's own doing and advice may hide a failure of the target
            if not inherited or self.is_torch:
                queue = [other for other in queue if _kind_of_fault(other) != key]
        if errors:
            result = self._result("error", (), replayed, reason=f"{errors[0].message}\n{errors[0].where}".strip())
            return replace(result, hint=_CONTRACT_HINT) if errors[0].kind == "contract" else result
        ordered = _telling(findings)
        shown: list[Finding] = []
        for inherited, case, outcome in ordered[:MOST_FINDINGS]:
            small, outcome = yield from self._shrunk(case, outcome, inherited)
            finding = self._finding(small, outcome, inherited)
            if all((other.case_id, other.kind) != (finding.case_id, finding.kind) for other in shown):
                shown.append(finding)  # two cases may be one when they are as small as can be
        further = tuple(self._finding(case, outcome, inherited) for inherited, case, outcome in ordered[MOST_FINDINGS:])
        shown += [self._unconfirmed(outcome) for outcome in fatal[:1]]
        status: Status = "passed"
        if any(finding.status == "failed" for finding in shown):
            status = "failed"
        elif shown:
            status = "warned"
        elif self.tally.examples == 0:
            reason = f"all {self.tally.discarded} cases were discarded, so nothing was shown"
            return self._result("skipped", (), replayed, reason=": ".join(filter(None, (reason, self.tally.why))))
        shown.sort(key=lambda finding: finding.status != "failed")
        return replace(self._result(status, tuple(shown), replayed), further=further)

    def _out_of_time(self, queue: Sequence[Case]) -> bool:
        """Whether the rest of the cases is left out, which is then said."""
        if not queue or self.tally.seconds <= self.profile.check_limit_s:
            return False
        self.tally.stopped = f"stopped after {self.profile.check_limit_s:g} s: the target is slow"
        return True

    def _left_to_rp408(self, queue: list[Case], case: Case) -> list[Case]:
        """The queue without a fault that torch's own code dies of: RP408 lists it, here it would only cost workers."""
        self.tally.examples -= 1
        self.tally.discarded += 1
        return [other for other in queue if (other.fault, other.packing) != (case.fault, case.packing)]

    def _batch(self, cases: Sequence[Case], **options: Any) -> Batch:
        options.setdefault("time_limit_s", self.profile.time_limit_s * self.check.patience)
        return Batch(tuple(cases), **options)

    def _confirmed(self, case: Case, outcome: Outcome) -> Generator[Batch, list[Outcome], Outcome | None]:
        """The same end again, of the case alone in a fresh worker: a crash may be a late effect of another case."""
        for _ in range(1 if outcome.kind == "hung" else 3):
            outcomes = yield self._batch([case], fresh=True)
            self.tally.add(outcomes, counted=False)
            if outcomes[0].fatal:
                return outcomes[0]
        return None

    def _inherited(self, case: Case, outcome: Outcome) -> Generator[Batch, list[Outcome], bool]:
        """Whether torch's own module of the same contract ends in the same way."""
        if self.check.family == "oracle":
            return False  # torch's module is what is compared with, or no better than the target
        if self.is_torch:
            return True
        if self.contract.torch_module is None:
            return False
        if outcome.in_torch and case.fault is not None:
            return True  # handed on to torch, and how its call ends then is a matter of what memory it meets
        outcomes = yield self._batch([case], reference=True, fresh=outcome.fatal)
        if case.packing and {outcomes[0].kind, outcome.kind} <= _UNCHECKED:
            return True  # where torch writes past its memory, how that ends differs from run to run
        return _alike(outcomes[0], outcome)

    def _shrunk(
        self, case: Case, outcome: Outcome, inherited: bool
    ) -> Generator[Batch, list[Outcome], tuple[Case, Outcome]]:
        """The smallest case that fails in the same way, and how it fails."""
        budget = round(self.profile.shrinks / self.check.patience)
        limit = self.profile.time_limit_s * self.check.patience
        if outcome.kind == "hung":
            budget, limit = _HANG_SHRINKS, min(limit, 5.0)
        elif outcome.kind == "crashed":
            budget = min(budget, _CRASH_SHRINKS)
        if inherited:
            budget = min(budget, _INHERITED_SHRINKS)
        shrinker = shrink(case, self.contract, self.check.needs, budget=budget)
        best = outcome
        try:
            candidate = next(shrinker)
            while True:
                if self.check.prepare is not None:
                    candidate = self.check.prepare(candidate, self.contract)
                outcomes = yield self._batch([candidate], fresh=outcome.fatal, time_limit_s=limit, shrinking=True)
                self.tally.add(outcomes, counted=False)
                holds = _alike(outcomes[0], outcome)
                if holds and not self.is_torch and self.contract.torch_module is not None:
                    holds = (yield from self._inherited(candidate, outcomes[0])) == inherited
                if holds:
                    best = outcomes[0]
                candidate = shrinker.send(holds)
        except StopIteration as end:
            smallest: Case = end.value
        if self.check.prepare is not None:
            smallest = self.check.prepare(smallest, self.contract)
        return smallest, best

    def _finding(self, case: Case, outcome: Outcome, inherited: bool) -> Finding:
        warned = (inherited or outcome.advice or self.check.advice) and not self.strict
        message = outcome.message
        if outcome.kind == "crashed" and not message:
            message = f"the process died of {outcome.signal}" + (f" ({_what(case)})" if case.fault else "")
        elif outcome.kind == "hung":
            message = f"no answer in {outcome.seconds:.0f} s; the process was killed" + (
                f" ({_what(case)})" if case.fault else ""
            )
        return Finding(
            kind=outcome.kind,
            status="warned" if warned else "failed",
            message=message,
            expected=outcome.expected,
            actual=outcome.actual,
            fault=_kind_of_fault(case),
            signal=outcome.signal,
            where=outcome.where,
            case=case.to_json(),
            case_id=case.case_id,
            case_repr=repr(case),
            inherited_from_torch=inherited,
        )

    def _unconfirmed(self, outcome: Outcome) -> Finding:
        end = f"died of {outcome.signal}" if outcome.kind == "crashed" else "gave no answer in time"
        if outcome.message:
            end = "lost its device"
        return Finding(
            kind=outcome.kind,
            status="warned",
            message=f"a worker {end} once; the case that it was running ended well three times when run alone",
            signal=outcome.signal,
        )

    def _result(self, status: Status, findings: tuple[Finding, ...], replayed: int, reason: str = "") -> CheckResult:
        return CheckResult(
            code=self.check.code,
            check=self.check.name,
            statement=self.check.statement,
            status=status,
            device=self.device,
            examples=self.tally.examples,
            discarded=self.tally.discarded,
            until_failure=self.tally.until_failure,
            replayed=replayed,
            errors=dict(self.tally.errors),
            duration_s=self.tally.seconds,
            time_in_target_s=self.tally.in_target,
            reason=reason or self.tally.stopped,
            hint=self.check.hint if findings else "",
            findings=findings,
        )


def _telling(
    findings: Mapping[tuple[str, bool, bool], tuple[Case, Outcome]],
) -> list[tuple[bool, Case, Outcome]]:
    """Of every kind of fault what says most: the target's own failures, then its own advice, then torch's doing.

    Args:
        findings: by kind of fault, whether they are inherited from torch, and whether they are advice.
    """
    first: dict[str, tuple[bool, Case, Outcome]] = {}
    for (kind, inherited, _), found in sorted(findings.items(), key=lambda item: item[0][1:]):
        first.setdefault(kind, (inherited, *found))
    return list(first.values())


def _alike(one: Outcome, two: Outcome) -> bool:
    """Whether two cases went wrong in the same way."""
    return one.bad and one.kind == two.kind and one.advice == two.advice


def _what(case: Case) -> str:
    return f"given the fault {_kind_of_fault(case)}"


def _kind_of_fault(case: Case) -> str:
    """What tells the case's fault from others in a report: its name, and whether the input is packed."""
    if case.fault is None:
        return ""
    return f"{case.fault.key}, packed" if case.packing else case.fault.key


def with_fault(fault: str, cases: Iterable[Case]) -> list[Case]:
    """The cases with one fault, by its key such as `input.features_more`."""
    return [case for case in cases if case.fault is not None and case.fault.key == fault]


def is_torch(target: str, contract: Contract) -> bool:
    """Whether a target is torch's own module, so that all that it does is torch's own doing."""
    return target.startswith("torch.nn:") and contract.torch_module is not None


def case_key(target: str, key: str) -> bytes:
    """The key under which failures of a check (see `CheckResult.key`) on a target are stored."""
    return f"rnn_props 1 {target} {key}".encode()


def stored_case(value: bytes, contract: Contract) -> Case | None:
    """A stored case, or None where it was stored by another version or for another constructor."""
    try:
        data: Mapping[str, Any] = json.loads(value)
        case = Case.from_json(data)
    except (ValueError, TypeError, KeyError):
        return None
    if set(case.hyperparameters) != set(contract.hyperparameters):
        return None
    return replace(case, hyperparameters={name: case.hyperparameters[name] for name in contract.hyperparameters})
