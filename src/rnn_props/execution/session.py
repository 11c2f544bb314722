"""One target's session: its contract, its jobs and its workers, from the first case to the last result."""

from __future__ import annotations

import difflib
import selectors
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rnn_props.cases import Case
from rnn_props.checks import Check
from rnn_props.checks import get as get_check
from rnn_props.checks.registry import explaining
from rnn_props.contracts import Contract
from rnn_props.execution.events import CheckFinished, CheckProgress, CheckStarted, ContractSettled, DeviceReady
from rnn_props.execution.items import Item, before, with_all_before, with_prerequisites
from rnn_props.execution.jobs import Batch, CheckJob, Job, Outcome, is_torch, with_fault
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.pins import PinError
from rnn_props.execution.plans import Plans
from rnn_props.execution.pool import Nursery, Worker
from rnn_props.execution.slots import Slot, death, outcome

if TYPE_CHECKING:
    from rnn_props.execution.runner import Runner

#: Statuses of a check on which others can rest.
_SOUND = frozenset({"passed", "warned", "not_applicable", "skipped", "expected_failure"})
_PROGRESS_EVERY = 0.1
#: What to do about a pinned case that can't be run.
_PIN_HINT = "This is not the module's failure: the file of pinned cases is out of date."


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
        options = self._options = runner.options.of(target)
        self._plans = Plans(contract, options.profile, options.seed, options.max_examples)
        self._chosen = {item.key: item for item in options.items}
        self._missing = {device.name: device.missing for device in options.devices if device.missing}
        self._before: dict[str, list[str]] = {}
        self._roots: dict[str, str] = {}
        self._waiting: list[Item] = []
        self._running: dict[str, Job] = {}
        self._drafter: Worker | None = None
        self._drafted: set[str] = set()
        self._slots = [Slot() for _ in range(options.jobs)]
        self._selector = selectors.DefaultSelector()
        self._told = 0.0
        self._fault = ""
        self._ran: dict[str, list[Case]] = {}
        runner.listener(ContractSettled(target, self._json, len(self._chosen)))

    def run(self, keys: Sequence[str] | None = None, among: Collection[str] | None = None) -> None:
        """Run checks and what they rest on, as far as not done.

        Args:
            keys: of the checks to run; all that were chosen by default.
            among: keys of all checks that are to be run sooner or later, all that were chosen by default. Those of them
                that would explain a failure come first, so results do not depend on the order of calls.
        """
        ordered = with_prerequisites([self._chosen[key] for key in (self._chosen if among is None else among)])
        if keys is not None:
            ordered = with_all_before([self._chosen[key] for key in keys], ordered)
        planned = {item.key for item in ordered}
        self._before = {item.key: [key for key in before(item) if key in planned] for item in ordered}
        self._waiting = [item for item in ordered if item.key not in self.results]
        self._have_drawn()
        self._start_jobs()
        if any(item.check.compiler for item in self._waiting):
            for slot in self._slots:  # these need not wait for the compiler
                self._hire(slot, self._waiting[0].device)
            self._nursery.import_compiler()
        while self._waiting or self._running:
            self._start_jobs()
            if self._running or self._drafted:
                self._wait()

    def run_alone(self, item: Item, fault: str = "") -> CheckResult:
        """The result of one check, without what it rests on or what explains it. It is not kept.

        Args:
            item: the check, on a device.
            fault: where one is named, only cases with it are run, such as `input.features_more`.

        Raises:
            ValueError: no case of the check has that fault.
        """
        self._before = {item.key: []}
        self._fault = fault
        try:
            quick = self._without_running(item)
            if quick is not None:
                return quick
            if item.check.compiler:
                self._nursery.import_compiler()
            self._expect(fault, item.check)
            self._start(item, self._slots[0])
            while self._running:
                self._wait()
        finally:
            self._fault = ""
        return self.results.pop(item.key)

    def _expect(self, fault: str, check: Check) -> None:
        known = {case.fault.key for case in self._plans.cases(check) if case.fault is not None}
        if fault and fault not in known:
            near = difflib.get_close_matches(fault, sorted(known), 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"no case of {check.code} has the fault {fault!r}{meant}")

    def reported(self) -> list[CheckResult]:
        """Results of the chosen checks, and of others only where something rests on them that failed."""
        return [
            result
            for key, result in self.results.items()
            if key in self._chosen or result.status in ("failed", "error")
        ]

    def cases(self, item: Item) -> list[Case]:
        """The cases of a check in the order in which they run, or ran: stored failures first."""
        if item.key in self._ran:  # a failure of this run is stored by now
            return self._ran[item.key]
        if item.check.not_applicable(self.contract) is not None:
            return []
        return [*self._runner.stored(self._target, item.key, self.contract), *self._plans.cases(item.check)]

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
            for item in list(self._waiting):
                if any(key not in self.results for key in self._before[item.key]):
                    continue
                if item.check.code in self._drafted:
                    continue
                quick = self._without_running(item)
                if quick is not None:
                    self._waiting.remove(item)
                    self._finish(quick)
                    progress = True
                elif (slot := self._free_slot(item)) is not None:
                    self._waiting.remove(item)
                    self._start(item, slot)

    def _free_slot(self, item: Item) -> Slot | None:
        """A place for a job; rather one whose worker is on its device already."""
        free = [slot for slot in self._slots if slot.batch is None]
        return min(free, key=lambda slot: slot.worker is None or slot.worker.device != item.device, default=None)

    def _without_running(self, item: Item) -> CheckResult | None:
        """The result of a check that is blocked or does not apply, or whose device is not there."""
        check = item.check
        blank = _blank(item)
        reason = check.not_applicable(self.contract)
        if reason is not None:
            return replace(blank, reason=reason)
        missing = self._missing.get(item.device)
        if missing is not None:
            return replace(blank, status="skipped", reason=missing)
        explaining_it = explaining(check)
        broken = [
            key
            for key in self._before[item.key]
            if self.results[key].status not in _SOUND
            # What is expected to fail has its consequences, too.
            or (self.results[key].status == "expected_failure" and self.results[key].code in explaining_it)
        ]
        if broken:
            root = self._roots[item.key] = self._roots.get(broken[0], broken[0])
            return replace(blank, status="blocked", reason=f"it rests on {root}")
        return None

    def _start(self, item: Item, slot: Slot) -> None:
        check = item.check
        try:
            stored = self._runner.stored(self._target, item.key, self.contract)
        except PinError as error:
            self._finish(replace(_blank(item), status="error", reason=str(error), hint=_PIN_HINT))
            return
        cases = self._plans.cases(check)
        if self._fault:
            stored, cases = (with_fault(self._fault, found) for found in (stored, cases))
        else:
            self._ran[item.key] = [*stored, *cases]
        self._runner.listener(CheckStarted(self._target, check.code, check.name, item.device))
        job = CheckJob(
            check=check,
            contract=self.contract,
            profile=self._options.profile,
            cases=cases,
            device=item.device,
            stored=stored,
            is_torch=is_torch(self._target, self.contract),
            strict=self._options.strict,
        )
        running = job.run()
        self._running[item.key] = running
        slot.item = item
        self._advance(slot, None)

    def _advance(self, slot: Slot, outcomes: list[Outcome] | None) -> None:
        """Send a job its outcomes and take its next batch, or its result."""
        assert slot.item is not None
        job = self._running[slot.item.key]
        try:
            batch = next(job) if outcomes is None else job.send(outcomes)
        except StopIteration as end:
            del self._running[slot.item.key]
            slot.batch = None
            self._finish(end.value)
            return
        self._send(slot, batch)

    def _finish(self, result: CheckResult) -> None:
        expected = self._options.expected_failures
        reason = expected.get(f"{result.code}@{result.device}") or expected.get(result.code)
        if reason is not None:
            result = result.expecting(reason)
        self.results[result.key] = result
        self._runner.store(self._target, result, forget=not self._fault)
        if result.key in self._chosen or result.status in ("failed", "error"):
            self._runner.listener(CheckFinished(self._target, result))

    # -- drawing ------------------------------------------------------------------------------------------------

    def _have_drawn(self) -> None:
        """Have a process of its own draw the cases of all waiting checks, in the order in which they will run."""
        waiting = {item.check.code: item.check for item in self._waiting}
        new = [
            check
            for check in waiting.values()
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

    def _send(self, slot: Slot, batch: Batch) -> None:
        assert slot.item is not None
        check, device = slot.item.check, slot.item.device
        if slot.worker is not None and (
            (batch.fresh and not slot.worker.fresh)
            or slot.worker.device != device
            or (check.compiler and self._nursery.has_compiler and not slot.worker.has_compiler)
        ):
            self._retire(slot)
        worker = self._hire(slot, device)
        worker.fresh = False
        slot.batch = batch
        slot.outcomes = []
        slot.heard()
        worker.send(
            {
                "op": "run",
                "check": check.code,
                "device": device,
                "slot": self._slots.index(slot) + self._options.place,
                "reference": batch.reference,
                "thorough": self._options.profile.thorough,
                "cases": [case.to_json() for case in batch.cases],
            }
        )

    def _hire(self, slot: Slot, device: str) -> Worker:
        """The worker of a place, a new one where there is none."""
        if slot.worker is None:
            slot.worker = Worker(self._nursery, self._json, device)
            self._selector.register(slot.worker.channel, selectors.EVENT_READ, slot)
        return slot.worker

    def _retire(self, slot: Slot) -> None:
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
        for slot in self._slots:
            if slot.batch is None or slot.worker is None:
                continue
            if slot.stalled > slot.batch.time_limit_s + self._patience:
                seconds = slot.silent
                self._selector.unregister(slot.worker.channel)
                words = slot.worker.end_with_words()
                slot.worker = None
                self._lost(slot, death("hung", "SIGKILL", words, seconds))

    def _read(self, slot: Slot) -> None:
        worker = slot.worker
        assert worker is not None
        try:
            worker.reader.fill()
        except EOFError:
            self._selector.unregister(worker.channel)
            cause, words = worker.cause_of_death()
            slot.worker = None
            if slot.batch is not None:
                self._lost(slot, death("crashed", cause, words, slot.silent))
            return
        while slot.worker is worker:
            found, message = worker.reader.buffered()
            if not found:
                return
            slot.heard()
            if "ready" in message:
                self._runner.listener(DeviceReady(self._target, message["ready"], message["facts"]))
                continue
            if "done" not in message:
                slot.outcomes.append(outcome(message))
                self._tell(slot)
                continue
            self.peak_memory_mb = max(self.peak_memory_mb, message["memory_mb"])
            outcomes = slot.outcomes
            if self._tainted(slot):
                self._retire(slot)
            self._advance(slot, outcomes)

    def _tainted(self, slot: Slot) -> bool:
        """Whether the worker lost its device, or took a bad call for good: what a kernel did to its memory may show
        only later."""
        assert slot.batch is not None
        if slot.outcomes[-1].fatal:
            return True
        fault = slot.batch.cases[len(slot.outcomes) - 1].fault
        return fault is not None and fault.family != "hyperparameters" and slot.outcomes[-1].kind == "accepted"

    def _lost(self, slot: Slot, outcome: Outcome) -> None:
        """A worker ended while it ran the first case without an outcome."""
        outcomes = [*slot.outcomes, outcome]
        self._advance(slot, outcomes)

    def _tell(self, slot: Slot) -> None:
        now = time.monotonic()
        if now - self._told > _PROGRESS_EVERY and slot.batch is not None:
            self._told = now
            assert slot.item is not None
            check, device = slot.item.check, slot.item.device
            self._runner.listener(
                CheckProgress(self._target, check.code, check.name, len(slot.outcomes), slot.batch.shrinking, device)
            )


def _blank(item: Item) -> CheckResult:
    check = item.check
    return CheckResult(
        code=check.code, check=check.name, statement=check.statement, status="not_applicable", device=item.device
    )
