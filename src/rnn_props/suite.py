"""The checks of one module, case by case: what generated test files are written with."""

from __future__ import annotations

import json
import os
import sys
import unittest
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hypothesis import event, settings

from rnn_props.api import Options, TargetChecks
from rnn_props.cases import Case
from rnn_props.checks import Check, Trial, select
from rnn_props.contracts import Contract
from rnn_props.execution import pins
from rnn_props.execution.items import Item, before
from rnn_props.execution.jobs import Batch, CheckJob, Outcome, case_key, is_torch
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.profiles import PROFILES
from rnn_props.execution.worker import outcome_of
from rnn_props.pytest_items import RnnPropsWarning, worker_number
from rnn_props.reporting.failure import failure_text
from rnn_props.subjects import Factory, Stopwatch, kept_clean
from rnn_props.targets import load, parse

#: After so many discarded cases without any that shows something, a test is skipped.
_DISCARDED = 50


class Suite:
    """One module under test, and the contract that it is held to.

    A check whose failure an earlier test explains is skipped as blocked, as in `rnn-props check`: one bug is one
    failure. What torch's own module does as well, and advice, are warnings.

    Args:
        target: `"package.module:attribute"` or `"path/to/file.py:attribute"`; it is imported when it is first needed.
        contract: how it is built and called.
        profile: how much of bad input is tried.
    """

    def __init__(self, target: str, contract: Contract, *, profile: str = "default") -> None:
        self.target = parse(target).text
        self.contract = contract
        self._profile = PROFILES[profile]
        self._stopwatch = Stopwatch()
        self._roots: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._results: dict[str, CheckResult] = {}
        self._pins: dict[str, CheckResult] = {}
        self._kept: dict[str, bytes] = {}

    def holds(self, check: str, case: Case) -> None:
        """Run one case of a check in this process.

        Args:
            check: its code or name.
            case: one that `rnn_props.strategies.cases(contract, check)` draws.

        Raises:
            AssertionError: the rule does not hold; the first line is `RP201 state.continuity: ...`.
            SkipTest: an earlier test's failure explains this check's, or cases show nothing.
        """
        __tracebackhide__ = True
        found = _one(check)
        self._skip_if_blocked(found)
        self._conclude(self._pinned(found))
        result = self._run(found, case)
        if result.status == "skipped":
            event(result.reason)
            self._seen[found.code] = self._seen.get(found.code, 0) - 1
            if self._seen[found.code] == -_DISCARDED:
                raise unittest.SkipTest(f"{_DISCARDED} cases were discarded: {result.reason}")
            return
        self._seen[found.code] = abs(self._seen.get(found.code, 0)) + _DISCARDED
        self._conclude(result)

    def rejects(self, check: str, fault: str) -> None:
        """Make calls with one fault, in worker processes: each must raise, by the rule of the check.

        Args:
            check: the code or name of a check of bad input, such as `RP401`.
            fault: such as `input.features_more` or `hyperparameters.zero(hidden_size)`.

        Raises:
            AssertionError: a call was accepted, or its process died; the shrunk case is in the message.
            SkipTest: an earlier test's failure explains this one.
        """
        __tracebackhide__ = True
        result = self._result(_one(check))
        found = (*result.findings, *result.further)
        findings = tuple(finding for finding in found if finding.fault.partition(", ")[0] == fault)
        if found and not findings:
            result = replace(result, status="passed", findings=())
        elif findings:
            failed = any(finding.status == "failed" for finding in findings)
            result = replace(result, status="failed" if failed else "warned", findings=findings)
        self._conclude(result)

    def passes(self, check: str) -> None:
        """Run a whole check in worker processes, with cases of its own.

        Raises:
            AssertionError: it failed.
            SkipTest: an earlier test's failure explains this one.
        """
        __tracebackhide__ = True
        self._conclude(self._result(_one(check)))

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

    def _run(self, check: Check, case: Case) -> CheckResult:
        """One case, as a run judges it, but not made smaller: Hypothesis does that."""
        job = CheckJob(
            check=check,
            contract=self.contract,
            profile=replace(self._profile, shrinks=0),
            cases=(case,),
            is_torch=is_torch(self.target, self.contract),
        ).run()
        outcomes: list[Outcome] | None = None
        while True:
            try:
                batch: Batch = next(job) if outcomes is None else job.send(outcomes)
            except StopIteration as end:
                result: CheckResult = end.value
                return result
            trial = Trial(batch.cases[0], self.contract, self._factories[batch.reference])
            outcomes = [Outcome(**outcome_of(check, trial))]

    def _pinned(self, check: Check) -> CheckResult:
        """How the pinned cases of a check went: they run before its first case."""
        if check.code not in self._pins:
            result = CheckResult(code=check.code, check=check.name, statement=check.statement, status="passed")
            for case in pins.fitted(pins.read(pins.place(Path.cwd())), self.target, check.code, self.contract):
                if result.status == "passed":
                    result = self._run(check, case)
            self._pins[check.code] = result if result.status == "failed" else replace(result, status="passed")
        return self._pins[check.code]

    def _keep(self, result: CheckResult) -> None:
        """Store a failing case in place of the larger one before it, so that it can be pinned."""
        database = settings.get_profile("default").database
        if database is None or not result.findings:
            return
        value = json.dumps(result.findings[0].case, sort_keys=True).encode()
        pins.save(database, self.target, result.code, value)
        before = self._kept.get(result.code, value)
        if before != value:
            database.delete(case_key(self.target, result.code), before)
        self._kept[result.code] = value

    def _result(self, check: Check) -> CheckResult:
        """The result of a whole check, run once in worker processes."""
        self._skip_if_blocked(check)
        if check.code not in self._results:
            self._results[check.code] = self._workers.run(check.code)
        return self._results[check.code]

    # -- telling ------------------------------------------------------------------------------------------------

    def _skip_if_blocked(self, check: Check) -> None:
        broken = [key for key in before(Item(check, "cpu")) if key in self._roots]
        if broken:
            root = self._roots[check.code] = self._roots[broken[0]]
            raise unittest.SkipTest(f"blocked: it rests on {root}")

    def _conclude(self, result: CheckResult) -> None:
        __tracebackhide__ = True
        if result.wrong:
            self._roots.setdefault(result.code, result.code)
            self._keep(result)
            raise AssertionError(failure_text(result))
        if result.status == "warned":
            own = "torch's own: " if result.inherited_from_torch else ""
            warnings.warn(RnnPropsWarning(f"{result.code} {result.check}: {own}{result.message}"), stacklevel=3)
        if result.status in ("blocked", "not_applicable", "skipped"):
            raise unittest.SkipTest(f"{result.status.replace('_', ' ')}: {result.reason}")


def _one(check: str) -> Check:
    found = select([check])
    if len(found) > 1:
        raise ValueError(f"'{check}' means {len(found)} checks; name one")
    return found[0]
