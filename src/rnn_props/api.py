"""What can be asked of rnn_props from Python."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnn_props.cases import Case
from rnn_props.checks import Check
from rnn_props.contracts import Contract
from rnn_props.execution.events import Listener, RunFinished, RunStarted
from rnn_props.execution.events import ignore as ignore_events
from rnn_props.execution.items import Item
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.pool import Pool, TargetUnusableError, WorkersUnavailableError
from rnn_props.execution.runner import Runner
from rnn_props.execution.session import TargetSession
from rnn_props.options import Options, resolve
from rnn_props.reporting.failure import failure_text
from rnn_props.reporting.report import Report, ReportBuilder
from rnn_props.targets import TargetError, name_of


def run(targets: Sequence[str], options: Options | None = None, listener: Listener = ignore_events) -> None:
    """Run checks on targets, one after the other, and tell the listener what happens.

    An interrupt ends the run early: the listener is told with the last event.

    Raises:
        ValueError: an option is out of range, before any event.
        UnknownCheckError: a pattern matches no check, before any event.
        WorkersUnavailableError: no worker process can be started.
    """
    resolved = resolve(options or Options())
    started = time.monotonic()
    most = max((len(resolved.of(target).items) for target in targets), default=0)
    listener(RunStarted(tuple(targets), most, resolved.profile.name, resolved.seed, resolved.jobs))
    interrupted = False
    with Runner(resolved, listener) as runner:
        try:
            for target in targets:
                runner.run_target(target)
        except KeyboardInterrupt:
            interrupted = True
    listener(RunFinished(time.monotonic() - started, interrupted))


def check(target: Any, **options: Any) -> Report:
    """Check one target, and return everything that was found.

    Args:
        target: `"package.module:attribute"`, `"path/to/file.py:attribute"`, a class or function that can be found
            under its own name in its module, or a `Contract` that builds such a class or function.
        options: as in `Options`.

    Raises:
        TargetError: the object, or its contract's reference, has no name that worker processes could import it by.
        ValueError: an option is out of range.
    """
    from rnn_props.reporting.environment import environment

    chosen = _with_contract(Options(**options), target)
    name = target_name(target)
    builder = ReportBuilder(environment(), strict=chosen.strict)
    run([name], chosen, builder)
    report = builder.report()
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def infer_contract(target: Any, **options: Any) -> Contract:
    """The contract of a target, worked out in a worker process; its `evidence` says from what.

    Args:
        target: as in `check`.
        options: as in `Options`; `arguments` and `adapter` have a bearing.

    Raises:
        TargetError: the target can't be used, or something that is needed can't be concluded; the message names it.
    """
    chosen = _with_contract(Options(**options), target)
    name = target_name(target)
    with Runner(resolve(chosen), ignore_events) as runner:
        try:
            return runner.contract_of(name)
        except TargetUnusableError as error:
            raise TargetError(f"{name}: {error}") from None


def assert_conforms(target: Any, **options: Any) -> None:
    """Check one target, and raise if any check fails.

    Args:
        target, options: as in `check`.

    Raises:
        AssertionError: a check failed, or no longer fails although that was expected; the first line is
            `RP201 state.continuity: ...`, further failures follow.
        TargetError: the target can't be used.
    """
    __tracebackhide__ = True
    (result,) = check(target, **options).targets
    if result.message:
        raise TargetError(f"{result.target}: {result.message}")
    failed = [found for found in result.results if found.wrong]
    if failed:
        raise AssertionError("\n\n".join(failure_text(found) for found in failed))


class TargetChecks:
    """One target, imported once, and its checks, run one at a time as they are asked for.

    A check's result is kept, and so are those of the checks that it rests on. Close it, or use it in a with
    statement, to end the worker processes; they end with this process in any case.
    """

    def __init__(self, target: Any, options: Options | None = None) -> None:
        self.target = target_name(target)
        self.options = resolve(_with_contract(options or Options(), target)).of(self.target)
        self._runner = Runner(self.options, ignore_events)
        self._session: TargetSession | None = None
        self._unusable = ""
        self._finalizer = weakref.finalize(self, self._runner.pool.close)

    def __enter__(self) -> TargetChecks:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def items(self) -> Sequence[Item]:
        """The checks that were chosen, each on every device that it runs on."""
        return self.options.items

    def open(self) -> TargetSession:
        """Import the target, if that has not been done.

        Raises:
            TargetError: it can't be used.
        """
        if self._unusable:
            raise TargetError(self._unusable)
        if self._session is None:
            try:
                self._session = self._runner.open(self.target)
            except TargetUnusableError as error:
                self._unusable = f"{self.target}: {error}"
                raise TargetError(self._unusable) from None
        return self._session

    def run(self, key: str, among: Collection[str] | None = None) -> CheckResult:
        """The result of one check (`RP201`, or `RP802@sim` for one on another device), run now unless it has been.

        Args:
            key: of the check.
            among: keys of all checks that will be run, all that were chosen by default. Those that would explain a
                failure of this one are run before it, so its result does not depend on the order of calls.

        Raises:
            TargetError: the target can't be used.
            KeyError: the check was not chosen.
        """
        self._item(key)
        session = self.open()
        session.run([key], among)
        return session.results[key]

    def run_alone(self, key: str, fault: str = "") -> CheckResult:
        """The result of one check, without what it rests on or what explains its failure. It is not kept.

        Args:
            key: of the check.
            fault: where one is named, only cases with it are run, such as `input.features_more`.

        Raises:
            TargetError: the target can't be used.
            KeyError: the check was not chosen.
            ValueError: no case of the check has that fault.
        """
        return self.open().run_alone(self._item(key), fault)

    def cases(self, key: str) -> list[Case]:
        """The cases that one check runs until it fails.

        Raises:
            TargetError: the target can't be used.
            KeyError: the check was not chosen.
        """
        return self.open().cases(self._item(key))

    def _item(self, key: str) -> Item:
        item = next((item for item in self.items if item.key == key), None)
        if item is None:
            raise KeyError(key)
        return item

    def close(self) -> None:
        """End the worker processes."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self._finalizer()


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """One check of one target on one device, to be called. Its text is an id for tests."""

    item: Item
    checks: TargetChecks

    @property
    def check(self) -> Check:
        return self.item.check

    @property
    def device(self) -> str:
        return self.item.device

    def __call__(self) -> CheckResult:
        """Run the check and return its result.

        Raises:
            AssertionError: it failed, or no longer fails although that was expected.
            TargetError: the target can't be used.
        """
        result = self.checks.run(self.item.key)
        if result.wrong:
            raise AssertionError(failure_text(result))
        return result

    def __str__(self) -> str:
        name = f"{self.check.code}-{self.check.name}"
        return name if self.device == "cpu" else f"{name}-{self.device}"


def checks_for(target: Any, **options: Any) -> list[BoundCheck]:
    """The checks of one target, each to be called: for `pytest.mark.parametrize` and the like.

    Args:
        target, options: as in `check`.
    """
    checks = TargetChecks(target, Options(**options))
    return [BoundCheck(item, checks) for item in checks.items]


def doctor() -> list[tuple[str, str, bool]]:
    """Try out what a run needs: name, text, and whether it is fine."""
    pool = Pool()
    started = time.monotonic()
    try:
        nursery = pool.open_target("torch.nn:LSTM", 60)
        first = time.monotonic() - started
        before = time.monotonic()
        channel, number = nursery.fork(b"W")
        nursery.pid_of(number)
        channel.close()
        again = time.monotonic() - before
    except (WorkersUnavailableError, TargetUnusableError, OSError) as error:
        return [("workers", str(error), False)]
    finally:
        with contextlib.suppress(OSError):
            pool.close()
    return [("workers", f"the first starts in {first:.1f} s, a further one in {1000 * again:.0f} ms", True)]


def target_name(target: Any) -> str:
    """The text by which a worker process can import a target; a contract's is that of what it builds.

    Raises:
        TargetError: there is none; the message says what to do.
    """
    if not isinstance(target, Contract):
        return name_of(target)
    if target.build is None:
        raise TargetError("the contract has no build: give it the class or factory to call")
    return name_of(target.build)


def _with_contract(options: Options, target: Any) -> Options:
    """The options, with the target's own contract where the target is one."""
    return replace(options, contract=target) if isinstance(target, Contract) else options
