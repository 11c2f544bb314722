"""The runner: targets one after the other, each in a session of its own, and what is kept between runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis.database import ExampleDatabase

from rnn_props.cases import Case, own_fills
from rnn_props.checks import Check
from rnn_props.config import TargetConfig
from rnn_props.contracts import Contract, with_declared
from rnn_props.devices import CPU, Device
from rnn_props.execution.events import Listener, TargetFinished, TargetStarted
from rnn_props.execution.items import Item, items_of
from rnn_props.execution.jobs import case_key, stored_case
from rnn_props.execution.outcomes import CheckResult, TargetResult, target_status
from rnn_props.execution.pins import Pin, fitted, save
from rnn_props.execution.pool import Nursery, Pool, TargetUnusableError, Worker, start_root
from rnn_props.execution.profiles import Profile
from rnn_props.execution.session import TargetSession
from rnn_props.subjects import own_frame_of_death
from rnn_props.targets import parse

#: Seconds for importing a target and settling its contract.
_DESCRIBE_LIMIT = 120.0
#: Seconds that a case may take longer for each second that the few calls of probing took.
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a run is asked for, resolved.

    Attributes:
        checks: those that are reported.
        jobs: how many workers run at a time.
        devices: that checks run on, those that are not there included.
        replay: whether stored failures are run first.
        contract: what targets are held to, in place of what would be inferred.
        expected_failures: why checks are expected to fail, by code, or by code and device as in `RP301@sim`.
        pins: cases of the user's repository that run first, always.
        place: the number of this process among those that share the machine; GPUs are given out by it.
        extensions: modules to import in every process, before the target.
        declared: what a configuration says of the contract.
        targets: what is asked for of single targets, where that is something else.
        database: where failures are kept, if anywhere.
        adapter: what says how to build and call them while that is inferred, as text; "" for none.
    """

    checks: Sequence[Check]
    profile: Profile
    seed: int
    jobs: int
    devices: Sequence[Device] = (CPU,)
    max_examples: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    replay: bool = True
    contract: Contract | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    pins: Sequence[Pin] = ()
    place: int = 0
    extensions: Sequence[str] = ()
    declared: TargetConfig = field(default_factory=TargetConfig)
    targets: Mapping[str, RunOptions] = field(default_factory=dict)
    adapter: str = ""
    database: ExampleDatabase | None = None

    def of(self, target: str) -> RunOptions:
        """What is asked for of one target."""
        return self.targets.get(target, self)

    @property
    def items(self) -> list[Item]:
        """Every check on every device that it runs on."""
        return items_of(self.checks, self.devices)


class Runner:
    """Runs checks on targets, one target after the other."""

    def __init__(self, options: RunOptions, listener: Listener) -> None:
        self.options = options
        self.listener = listener
        self.pool = Pool()
        self._database = options.database

    def __enter__(self) -> Runner:
        start_root()
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.close()

    def run_target(self, target: str) -> TargetResult:
        """Run every check on one target. A target that can't be used is a result, too."""
        started = time.monotonic()
        self.listener(TargetStarted(target))
        try:
            session = self.open(target)
        except TargetUnusableError as error:
            result = TargetResult(
                target=target, status="error", message=str(error), duration_s=time.monotonic() - started
            )
        else:
            try:
                session.run()
            finally:
                session.close()
            results = tuple(sorted(session.reported(), key=lambda result: result.key))
            result = TargetResult(
                target=target,
                status=target_status(results),
                contract=session.contract.to_json(),
                results=results,
                duration_s=time.monotonic() - started,
                peak_memory_mb=session.peak_memory_mb,
            )
        self.listener(TargetFinished(result))
        return result

    def open(self, target: str) -> TargetSession:
        """Import a target and settle its contract.

        Raises:
            TargetUnusableError: it can't be imported, or has no contract; the message says why.
        """
        nursery = self.pool.open_target(target, _DESCRIBE_LIMIT, self.options.extensions)
        try:
            _refuse_unknown_fills(target, nursery.fills)
            started = time.monotonic()
            contract = self.describe(nursery, self.options.of(target))
            patience = _PATIENCE * (time.monotonic() - started)
            return TargetSession(self, target, nursery, contract, patience)
        except BaseException:
            self.pool.close_target(nursery)
            raise

    def contract_of(self, target: str) -> Contract:
        """The contract of a target, and nothing run.

        Raises:
            TargetUnusableError: it can't be imported, or has no contract; the message says why.
        """
        nursery = self.pool.open_target(target, _DESCRIBE_LIMIT, self.options.extensions)
        try:
            return self.describe(nursery, self.options.of(target))
        finally:
            self.pool.close_target(nursery)

    def stored(self, target: str, key: str, contract: Contract) -> list[Case]:
        """The pinned cases of a check, then failures of earlier runs, in a fixed order.

        Raises:
            PinError: a pinned case does not fit the contract.
        """
        cases = fitted(self.options.pins, target, key.partition("@")[0], contract)
        if not self.options.replay or self._database is None:
            return cases
        values = sorted(self._database.fetch(case_key(target, key)))
        failed = [case for value in values if (case := stored_case(value, contract)) is not None]
        return [*cases, *(case for case in failed if case not in cases)]

    def store(self, target: str, result: CheckResult, *, forget: bool = True) -> None:
        """Keep the cases of a result for the next run, and forget those that fail no longer."""
        if self._database is None:
            return
        key = case_key(target, result.key)
        kept = {
            json.dumps(finding.case, sort_keys=True).encode()
            for finding in result.findings
            if finding.status == "failed" and finding.case
        }
        for value in list(self._database.fetch(key)):
            if forget and value not in kept and self.options.replay:
                self._database.delete(key, value)
        for value in kept:
            save(self._database, target, result.key, value)

    def describe(self, nursery: Nursery, options: RunOptions) -> Contract:
        """The contract of a target that has been imported.

        Raises:
            TargetUnusableError: it has none; the message says why.
        """
        if options.contract is not None:
            return self._with_declared(options.contract, options)
        worker = Worker(nursery, None)
        worker.send({"op": "describe", "arguments": dict(options.arguments), "adapter": options.adapter})
        worker.channel.settimeout(_DESCRIBE_LIMIT)
        try:
            answer = worker.reader.next()
        except TimeoutError:
            where = own_frame_of_death(worker.end_with_words())
            raise TargetUnusableError(
                f"its simplest configuration gave no result in {_DESCRIBE_LIMIT:g} s; the process was killed"
                f"{where and f' at {where}'}"
            ) from None
        except EOFError:
            cause, words = worker.cause_of_death()
            where = own_frame_of_death(words)
            raise TargetUnusableError(
                f"its simplest configuration killed the process ({cause}{where and f' at {where}'})"
            ) from None
        worker.end()
        if "error" in answer:
            raise TargetUnusableError(answer["error"])
        return self._with_declared(Contract.from_json(answer["contract"]), options)

    def _with_declared(self, contract: Contract, options: RunOptions) -> Contract:
        try:
            return with_declared(contract, options.declared)
        except ValueError as error:
            raise TargetUnusableError(f"what the configuration says of it can't be: {error}") from None


def _refuse_unknown_fills(target: str, fills: Sequence[str]) -> None:
    """Workers draw the kinds of values that a target's import registers; a process that lacks them can't read those.

    Raises:
        TargetUnusableError: there is one; the message says how to have it in every process.
    """
    unknown = [name for name in fills if name not in own_fills()]
    if unknown:
        location = parse(target).location
        raise TargetUnusableError(
            f"importing it registers the kind of values '{unknown[0]}', which is known in its own processes alone: "
            f"name the module that registers it as an extension, such as --extension {location}, or "
            f'extensions = ["{location}"] in [tool.rnn_props]'
        )
