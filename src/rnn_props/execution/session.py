"""One target's session: its contract, its jobs and its workers, from the first case to the last result."""

from __future__ import annotations

import selectors
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rnn_props.checks import Check
from rnn_props.checks import get as get_check
from rnn_props.checks.registry import explaining
from rnn_props.contracts import Contract
from rnn_props.execution.events import CheckFinished, CheckProgress, CheckStarted, ContractSettled
from rnn_props.execution.jobs import Batch, CheckJob, Job, Outcome
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.plans import Plans
from rnn_props.execution.pool import Nursery, Worker
from rnn_props.subjects import died_in_torch, own_frame_of_death

if TYPE_CHECKING:
    from rnn_props.execution.runner import Runner

#: Statuses of a check on which others can rest.
_SOUND = frozenset({"passed", "warned", "not_applicable", "skipped", "expected_failure"})
_PROGRESS_EVERY = 0.1
#: On a busy machine a case may take this many times its limit by the clock.
_STARVED_AT_MOST = 10


@dataclass
class _Slot:
    """One place for a worker, and what it is doing."""

    worker: Worker | None = None
    code: str = ""
    batch: Batch | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    since: float = 0.0
    cpu: float | None = None


class TargetSession:
    """One target, imported: its contract, its jobs and its workers."""

    def __init__(self, runner: Runner, target: str, nursery: Nursery, contract: Contract, patience: float) -> None:
        self._patience = patience
        self.contract = contract
        self.results: dict[str, CheckResult] = {}
        self.peak_memory_mb = 0.0
        self._runner = runner
        self._target = target
        self._nursery = nursery
        self._json = contract.to_json()
        options = runner.options
        self._plans = Plans(contract, options.profile, options.seed, options.max_examples)
        self._chosen = {check.code for check in options.checks}
        self._explained: dict[str, list[str]] = {}
        self._waiting: list[Check] = []
        self._running: dict[str, Job] = {}
        self._drafter: Worker | None = None
        self._drafted: set[str] = set()
        self._slots = [_Slot() for _ in range(options.jobs)]
        self._selector = selectors.DefaultSelector()
        self._told = 0.0
        runner.listener(ContractSettled(target, self._json, len(options.checks)))

    def run(self, codes: Sequence[str] | None = None) -> None:
        """Run checks (all that were chosen, or the given ones) and what they rest on, as far as not done yet."""
        ordered = _with_prerequisites(codes or sorted(self._chosen))
        # Of the checks that would say more of what makes one fail, those that this run has.
        planned = {check.code for check in ordered} | set(self.results)
        self._explained = {check.code: [code for code in explaining(check) if code in planned] for check in ordered}
        self._waiting = [check for check in ordered if check.code not in self.results]
        self._have_drawn()
        self._start_jobs()
        if any(check.compiler for check in self._waiting):
            self._nursery.import_compiler()
        while self._waiting or self._running:
            self._start_jobs()
            if self._running or self._drafted:
                self._wait()

    def reported(self) -> list[CheckResult]:
        """Results of the chosen checks, and of others only where something rests on them that failed."""
        return [
            result
            for code, result in self.results.items()
            if code in self._chosen or result.status in ("failed", "error")
        ]

    def close(self) -> None:
        """End the workers."""
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.close()
        self._end_drafter()
        self._selector.close()
        self._runner.pool.close_target(self._nursery)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _start_jobs(self) -> None:
        progress = True
        while progress:
            progress = False
            for check in list(self._waiting):
                if any(code not in self.results for code in (*check.after, *self._explained[check.code])):
                    continue
                if check.code in self._drafted:
                    continue
                quick = self._without_running(check)
                if quick is not None:
                    self._waiting.remove(check)
                    self._finish(quick)
                    progress = True
                elif (slot := next((slot for slot in self._slots if slot.batch is None), None)) is not None:
                    self._waiting.remove(check)
                    self._start(check, slot)

    def _without_running(self, check: Check) -> CheckResult | None:
        """The result of a check that is blocked or does not apply."""
        blank = CheckResult(code=check.code, check=check.name, statement=check.statement, status="not_applicable")
        reason = check.not_applicable(self.contract)
        if reason is not None:
            return replace(blank, reason=reason)
        before = (*check.after, *self._explained[check.code])
        broken = [code for code in before if self.results[code].status not in _SOUND]
        if broken:
            cause = self.results[broken[0]]
            root = broken[0] if cause.status != "blocked" else cause.reason.rpartition(" ")[2]
            return replace(blank, status="blocked", reason=f"it rests on {root}")
        return None

    def _start(self, check: Check, slot: _Slot) -> None:
        self._runner.listener(CheckStarted(self._target, check.code, check.name))
        job = CheckJob(
            check=check,
            contract=self.contract,
            profile=self._runner.options.profile,
            cases=self._plans.cases(check),
            stored=self._runner.stored(self._target, check, self.contract),
            is_torch=self._target.startswith("torch.nn:") and self.contract.torch_module is not None,
            strict=self._runner.options.strict,
        )
        running = job.run()
        self._running[check.code] = running
        slot.code = check.code
        self._advance(slot, None)

    def _advance(self, slot: _Slot, outcomes: list[Outcome] | None) -> None:
        """Send a job its outcomes and take its next batch, or its result."""
        job = self._running[slot.code]
        try:
            batch = next(job) if outcomes is None else job.send(outcomes)
        except StopIteration as end:
            del self._running[slot.code]
            slot.batch = None
            self._finish(end.value)
            return
        self._send(slot, batch)

    def _finish(self, result: CheckResult) -> None:
        self.results[result.code] = result
        self._runner.store(self._target, result)
        if result.code in self._chosen or result.status in ("failed", "error"):
            self._runner.listener(CheckFinished(self._target, result))

    # -- drawing ------------------------------------------------------------------------------------------------

    def _have_drawn(self) -> None:
        """Have a process of its own draw the cases of all waiting checks, in the order in which they will run."""
        new = [
            check
            for check in self._waiting
            if check.not_applicable(self.contract) is None and not self._plans.has(check)
        ]
        if len(new) < 2 or not self._plans.named or self._drafter is not None:
            return  # one check can as well be drawn here
        self._drafter = Worker(self._nursery, self._json)
        self._selector.register(self._drafter.channel, selectors.EVENT_READ, None)
        self._drafted = {check.code for check in new}
        self._drafter.send({"op": "draw", "plans": self._plans.to_json(), "checks": [check.code for check in new]})

    def _read_drafter(self) -> None:
        assert self._drafter is not None
        try:
            self._drafter.reader.fill()
        except EOFError:
            self._end_drafter()  # what is missing is drawn here, where an error can be told
            return
        while True:
            found, message = self._drafter.reader.buffered()
            if not found:
                return
            if "done" in message:
                self._end_drafter()
                return
            self._drafted.discard(message["drawn"])
            self._plans.take(get_check(message["drawn"]), message["cases"])

    def _end_drafter(self) -> None:
        self._drafted = set()
        if self._drafter is not None:
            self._selector.unregister(self._drafter.channel)
            self._drafter.end()
            self._drafter = None

    # -- workers ------------------------------------------------------------------------------------------------

    def _send(self, slot: _Slot, batch: Batch) -> None:
        if slot.worker is not None and (
            (batch.fresh and not slot.worker.fresh)
            or (get_check(slot.code).compiler and self._nursery.has_compiler and not slot.worker.has_compiler)
        ):
            self._retire(slot)
        new = slot.worker is None
        if slot.worker is None:
            slot.worker = Worker(self._nursery, self._json)
            self._selector.register(slot.worker.channel, selectors.EVENT_READ, slot)
        slot.worker.fresh = False
        slot.batch = batch
        slot.outcomes = []
        slot.since = time.monotonic()
        slot.cpu = 0.0 if new else slot.worker.cpu_seconds()
        slot.worker.send(
            {
                "op": "run",
                "check": slot.code,
                "reference": batch.reference,
                "thorough": self._runner.options.profile.thorough,
                "cases": [case.to_json() for case in batch.cases],
            }
        )

    def _retire(self, slot: _Slot) -> None:
        assert slot.worker is not None
        self._selector.unregister(slot.worker.channel)
        slot.worker.end()
        slot.worker = None

    def _wait(self) -> None:
        """Take in what workers have to say, and end those that are silent for too long."""
        for key, _ in self._selector.select(0.2):
            if key.data is None:
                self._read_drafter()
            else:
                self._read(key.data)
        now = time.monotonic()
        for slot in self._slots:
            if (
                slot.batch is not None
                and slot.worker is not None
                and now - slot.since > slot.batch.time_limit_s + self._patience
                and not self._starved(slot, now)
            ):
                seconds = now - slot.since
                self._selector.unregister(slot.worker.channel)
                words = slot.worker.end_with_words()
                slot.worker = None
                self._lost(slot, _death("hung", "SIGKILL", words, seconds))

    def _starved(self, slot: _Slot, now: float) -> bool:
        """Whether a case is slow only because the machine is busy: it works, and has not had its time yet."""
        assert slot.batch is not None
        assert slot.worker is not None
        limit = slot.batch.time_limit_s + self._patience
        had = slot.worker.cpu_seconds()
        if had is None or slot.cpu is None or now - slot.since > _STARVED_AT_MOST * limit:
            return False
        return 0.05 * limit < had - slot.cpu < limit

    def _read(self, slot: _Slot) -> None:
        worker = slot.worker
        assert worker is not None
        try:
            worker.reader.fill()
        except EOFError:
            self._selector.unregister(worker.channel)
            cause, words = worker.cause_of_death()
            slot.worker = None
            if slot.batch is not None:
                self._lost(slot, _death("crashed", cause, words, time.monotonic() - slot.since))
            return
        while slot.worker is worker:
            found, message = worker.reader.buffered()
            if not found:
                return
            slot.since = time.monotonic()
            slot.cpu = worker.cpu_seconds()
            if "done" not in message:
                slot.outcomes.append(_outcome(message))
                self._tell(slot)
                continue
            self.peak_memory_mb = max(self.peak_memory_mb, message["memory_mb"])
            outcomes = slot.outcomes
            if self._tainted(slot):
                self._retire(slot)
            self._advance(slot, outcomes)

    def _tainted(self, slot: _Slot) -> bool:
        """Whether the worker took a bad call for good: what a kernel did to its memory may show only later."""
        assert slot.batch is not None
        fault = slot.batch.cases[len(slot.outcomes) - 1].fault
        return fault is not None and fault.family != "hyperparameters" and slot.outcomes[-1].kind == "accepted"

    def _lost(self, slot: _Slot, outcome: Outcome) -> None:
        """A worker ended while it ran the first case without an outcome."""
        outcomes = [*slot.outcomes, outcome]
        self._advance(slot, outcomes)

    def _tell(self, slot: _Slot) -> None:
        now = time.monotonic()
        if now - self._told > _PROGRESS_EVERY and slot.batch is not None:
            self._told = now
            name = get_check(slot.code).name
            self._runner.listener(
                CheckProgress(self._target, slot.code, name, len(slot.outcomes), slot.batch.shrinking)
            )


def _death(kind: str, signal: str, words: str, seconds: float) -> Outcome:
    where, in_torch = own_frame_of_death(words), died_in_torch(words)
    return Outcome(kind, where=where, signal=signal, in_torch=in_torch, seconds=seconds)


def _outcome(message: Mapping[str, Any]) -> Outcome:
    return Outcome(
        kind=message["kind"],
        message=message.get("message", ""),
        expected=message.get("expected", ""),
        actual=message.get("actual", ""),
        where=message.get("where", ""),
        advice=message.get("advice", False),
        seconds=message["seconds"],
        in_target=message["in_target"],
    )


def _with_prerequisites(codes: Sequence[str]) -> list[Check]:
    """The checks and all that they rest on, each after what it rests on and what explains it."""
    wanted: dict[str, Check] = {}

    def want(code: str) -> None:
        if code not in wanted:
            wanted[code] = get_check(code)
            for other in wanted[code].after:
                want(other)

    for code in codes:
        want(code)
    ordered: dict[str, Check] = {}

    def add(code: str) -> None:
        if code in wanted and code not in ordered:
            for other in (*wanted[code].after, *explaining(wanted[code])):
                add(other)
            ordered[code] = wanted[code]

    for code in wanted:
        add(code)
    return list(ordered.values())
