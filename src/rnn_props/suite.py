"""The checks of one module, case by case: what generated test files are written with."""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import unittest
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from hypothesis import currently_in_test_context, event, settings

from rnn_props import devices
from rnn_props.api import TargetChecks
from rnn_props.cases import Case
from rnn_props.checks import Trial, get, select
from rnn_props.checks.registry import explaining
from rnn_props.contracts import Contract
from rnn_props.execution import pins
from rnn_props.execution.items import Item, before
from rnn_props.execution.jobs import Batch, CheckJob, Outcome, case_key, is_torch
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.profiles import PROFILES
from rnn_props.execution.worker import outcome_of
from rnn_props.options import Options
from rnn_props.pytest_items import RnnPropsWarning, worker_number
from rnn_props.reporting.failure import failure_text
from rnn_props.subjects import Factory, Stopwatch, kept_clean
from rnn_props.targets import load, parse

#: After so many discarded cases without any that shows something, a test is skipped.
_DISCARDED = 50


class Suite:
    """One module under test, and the contract that it is held to.

    A check whose failure that of an earlier test in this process explains is skipped as blocked, as in `rnn-props
    check`: one bug is one failure. Where a test runs without those that it rests on, its failure names them. What
    torch's own module does as well, and advice, are warnings.

    Args:
        target: `"package.module:attribute"` or `"path/to/file.py:attribute"`; it is imported when it is first needed.
        contract: how it is built and called.
        profile: how much of bad input is tried.
        expected_failures: codes of the checks whose tests are marked as expected to fail. What rests on these runs all
            the same; only what they explain is blocked.
    """

    def __init__(
        self, target: str, contract: Contract, *, profile: str = "default", expected_failures: Collection[str] = ()
    ) -> None:
        self.target = parse(target).text
        self.contract = contract
        self._profile = PROFILES[profile]
        self._expected = {check.code for name in expected_failures for check in select([name])}
        self._stopwatch = Stopwatch()
        self._roots: dict[str, str] = {}
        self._tested: set[str] = set()
        self._seen: dict[str, int] = {}
        self._pins: dict[str, CheckResult] = {}
        self._kept: dict[str, bytes] = {}
        self._ready: set[str] = {"cpu"}
        self._lost: dict[str, str] = {}

    def holds(self, check: str, case: Case, *, device: str = "cpu") -> None:
        """Run one case of a check in this process.

        Args:
            check: its code or name.
            case: one that `rnn_props.strategies.cases(contract, check)` draws.
            device: on which it runs, such as `sim` or `cuda` for a check of accelerators.

        Raises:
            AssertionError: the rule does not hold; the first line is `RP201 state.continuity: ...`.
            SkipTest: an earlier test's failure explains this check's, cases show nothing, or the device is not there.
            ValueError: there is no such check, or it does not run on such a device.
        """
        __tracebackhide__ = True
        item = _item(check, device)
        self._begin(item)
        self._conclude(item, self._pinned(item))
        result = self._run(item, case)
        if result.status == "skipped":
            if not currently_in_test_context():  # a test of one case
                raise unittest.SkipTest(result.reason)
            event(result.reason)
            self._seen[item.key] = self._seen.get(item.key, 0) - 1
            if self._seen[item.key] == -_DISCARDED:
                raise unittest.SkipTest(f"{_DISCARDED} cases were discarded: {result.reason}")
            return
        self._seen[item.key] = abs(self._seen.get(item.key, 0)) + _DISCARDED
        self._conclude(item, result)

    def rejects(self, check: str, fault: str) -> None:
        """Make calls with one fault, in worker processes: each must raise, by the rule of the check.

        Args:
            check: the code or name of a check of bad input, such as `RP401`.
            fault: such as `input.features_more` or `hyperparameters.zero(hidden_size)`.

        Raises:
            AssertionError: a call was accepted, or its process died; the shrunk case is in the message.
            SkipTest: an earlier test's failure explains this one.
            ValueError: there is no such check, or no case of it has that fault.
        """
        __tracebackhide__ = True
        item = _item(check, "cpu")
        self._begin(item)
        self._conclude(item, self._workers.run_alone(item.key, fault))

    def passes(self, check: str) -> None:
        """Run a whole check in worker processes, with cases of its own.

        Raises:
            AssertionError: it failed.
            SkipTest: an earlier test's failure explains this one.
            ValueError: there is no such check.
        """
        __tracebackhide__ = True
        item = _item(check, "cpu")
        self._begin(item)
        self._conclude(item, self._workers.run_alone(item.key))

    # -- running ------------------------------------------------------------------------------------------------

    @cached_property
    def _factories(self) -> Mapping[bool, Factory]:
        """The target, and torch's own module where the contract is torch's."""
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.insert(0, os.getcwd())  # where workers look, too
        with kept_clean(0):
            target = load(parse(self.target))
        own = Factory(target, self.contract, self._stopwatch)
        if self.contract.torch_module is None:
            return {False: own}
        reference: Any = getattr(torch.nn, self.contract.torch_module)
        return {False: own, True: Factory(reference, self.contract, self._stopwatch)}

    @cached_property
    def _workers(self) -> TargetChecks:
        options = Options(contract=self.contract, profile=self._profile.name, seed=0, jobs=1, place=worker_number())
        return TargetChecks(self.target, options)

    def _run(self, item: Item, case: Case) -> CheckResult:
        """One case, as a run judges it, but not made smaller: Hypothesis does that."""
        if item.check.prepare is not None:
            case = item.check.prepare(case, self.contract)
        job = CheckJob(
            check=item.check,
            contract=self.contract,
            profile=replace(self._profile, shrinks=0),
            cases=(case,),
            device=item.device,
            is_torch=is_torch(self.target, self.contract),
        ).run()
        outcomes: list[Outcome] | None = None
        while True:
            try:
                batch: Batch = next(job) if outcomes is None else job.send(outcomes)
            except StopIteration as end:
                result: CheckResult = end.value
                return result
            outcomes = [self._outcome(item, batch)]

    def _outcome(self, item: Item, batch: Batch) -> Outcome:
        trial = Trial(batch.cases[0], self.contract, self._factories[batch.reference], device=item.device)
        outcome = Outcome(**outcome_of(item.check, trial))
        if outcome.kind != "passed" and (lost := devices.why_lost(item.device)):
            self._lost.setdefault(item.device, item.key)
            return Outcome("crashed", f"{item.device} can't be used any more by this process: {lost}", outcome.where)
        return outcome

    def _pinned(self, item: Item) -> CheckResult:
        """How the pinned cases of a check went: they run before its first case."""
        if item.key not in self._pins:
            check = item.check
            result = CheckResult(code=check.code, check=check.name, statement=check.statement, status="passed")
            for case in pins.fitted(pins.read(pins.place(Path.cwd())), self.target, check.code, self.contract):
                if result.status == "passed":
                    result = self._run(item, case)
            self._pins[item.key] = result if result.status == "failed" else replace(result, status="passed")
        return self._pins[item.key]

    def _keep(self, result: CheckResult) -> None:
        """Store a failing case in place of the larger one before it, so that it can be pinned."""
        database = settings.get_profile("default").database
        if database is None or not result.findings:
            return
        value = json.dumps(result.findings[0].case, sort_keys=True).encode()
        pins.save(database, self.target, result.key, value)
        before = self._kept.get(result.key, value)
        if before != value:
            database.delete(case_key(self.target, result.key), before)
        self._kept[result.key] = value

    # -- telling ------------------------------------------------------------------------------------------------

    def _begin(self, item: Item) -> None:
        """Make the device ready, unless there is nothing to run."""
        broken = [key for key in before(item) if key in self._roots] if self._roots else []
        if self._expected and broken:
            explaining_it = explaining(item.check)
            codes = {key: key.partition("@")[0] for key in broken}
            broken = [key for key in broken if codes[key] not in self._expected or codes[key] in explaining_it]
        if broken:
            root = self._roots[item.key] = self._roots[broken[0]]
            raise unittest.SkipTest(f"blocked: it rests on {root}")
        if self._lost.get(item.device, item.key) != item.key:
            raise unittest.SkipTest(f"{self._lost[item.device]} has left {item.device} unusable to this process")
        if item.device not in self._ready:
            if missing := devices.why_not(item.device):
                raise unittest.SkipTest(missing)
            devices.set_up(item.device, worker_number())
            self._ready.add(item.device)
        self._tested.add(item.key)

    def _conclude(self, item: Item, result: CheckResult) -> None:
        __tracebackhide__ = True
        if result.wrong:
            self._roots.setdefault(item.key, item.key)
            self._keep(result)
            raise AssertionError("\n".join([failure_text(result), *self._untested(item)]))
        if result.status == "warned":
            own = "torch's own: " if result.inherited_from_torch else ""
            warnings.warn(RnnPropsWarning(f"{result.code} {result.check}: {own}{result.message}"), stacklevel=3)
        if result.status in ("blocked", "not_applicable", "skipped"):
            raise unittest.SkipTest(f"{result.status.replace('_', ' ')}: {result.reason}")

    def _untested(self, item: Item) -> list[str]:
        """What may be the cause of a failure, for all that this process knows: a line, or none."""
        unknown = {key.partition("@")[0] for key in before(item) if key not in self._tested}
        open_codes = [code for code in unknown if get(code).not_applicable(self.contract) is None]
        named = [
            pattern
            for pattern in (*item.check.after, *item.check.explained_by)
            if any(fnmatch.fnmatchcase(code, pattern) for code in open_codes)
        ]
        if not named:
            return []
        return [f"rests on: {', '.join(named)} (not tested before it: if one of these fails, too, that is the cause)"]


@cache
def _item(check: str, device: str) -> Item:
    found = select([check])
    if len(found) > 1:
        raise ValueError(f"'{check}' means {len(found)} checks; name one")
    if devices.kind_of(device) not in found[0].on:
        raise ValueError(f"{found[0].code} runs on {', '.join(sorted(found[0].on))}, not on {device}")
    return Item(found[0], device)
