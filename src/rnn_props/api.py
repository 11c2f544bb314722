"""What can be asked of rnn_props from Python."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis.database import ExampleDatabase

from rnn_props import devices
from rnn_props.cases import Case
from rnn_props.checks import Check, select
from rnn_props.config import Config
from rnn_props.contracts import Contract, adapter_name, check_declared, whole_contract, with_fixed
from rnn_props.execution import pins
from rnn_props.execution.events import Listener, RunFinished, RunStarted
from rnn_props.execution.events import ignore as ignore_events
from rnn_props.execution.items import Item, items_of
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.pool import Pool, TargetUnusableError, WorkersUnavailableError
from rnn_props.execution.profiles import PROFILES
from rnn_props.execution.runner import Runner, RunOptions
from rnn_props.execution.session import TargetSession
from rnn_props.extensions import load_extensions
from rnn_props.reporting.failure import failure_text
from rnn_props.reporting.report import Report, ReportBuilder
from rnn_props.targets import TargetError, name_of

#: More workers than this are never started unasked.
_MOST_JOBS = 8
_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked for.

    Attributes:
        checks, skip: globs over codes and names.
        profile: `quick`, `default` or `nightly`.
        max_examples: cases for each check, in place of the profile's numbers.
        seed: decides every case; with a seed given, failures of earlier runs are not replayed, so the report depends
            on nothing else.
        jobs: workers at a time; one a core by default.
        arguments: constructor arguments that are held at a value.
        devices: names of devices to run on, such as `cpu`, `sim`, `cuda`, `cuda:1`, `mps`; `all` is what is there.
            Checks on a device that is not there are counted as skipped.
        require_devices: the same, but a device that is not there is an error.
        strict: advice, and what torch itself does wrong, count as failures.
        contract: the contract to hold the target to, in place of the one that would be inferred. Its hyperparameters
            may be drawn by Hypothesis strategies.
        expected_failures: checks that are expected to fail, each with the reason, by code or name; `RP301@sim` means
            the check on that device alone. Such a failure counts as an expected one, and a check that no longer fails
            is reported as stale.
        place: the number of this process where several run checks side by side; GPUs are given out by it.
        extensions: modules that register checks, faults or kinds of values of one's own: `package.module` or
            `path/to/file.py`. Those of installed packages are imported in any case.
        config: what a configuration file says of single targets; see `rnn_props.config.read`.
        adapter: how to build and call the target, where that is to be inferred and no convention fits: an adapter, or
            the text `"file.py:ADAPTER"`.
        replay: whether failures of earlier runs are run first; by default where no seed is given.
        shrink: whether failures are made smaller.
        database: where failures are kept, one of Hypothesis's, or None for nowhere; its own by default.
    """

    checks: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    profile: str = "default"
    max_examples: int | None = None
    seed: int | None = None
    jobs: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    require_devices: tuple[str, ...] = ()
    strict: bool = False
    contract: Contract | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    place: int = 0
    extensions: tuple[str, ...] = ()
    config: Config = field(default_factory=Config)
    adapter: Any = None
    replay: bool | None = None
    shrink: bool = True
    database: ExampleDatabase | None = field(default_factory=lambda: settings.get_profile("default").database)


def resolve(options: Options) -> RunOptions:
    """The options with names looked up and defaults put in.

    Raises:
        ValueError: an option is out of range, or an extension can't be imported; the message says more.
        UnknownCheckError: a pattern matches no check.
        PinError: the file of pinned cases has a line that is none.
        TargetError: the contract can't be sent to worker processes.
    """
    load_extensions(options.extensions)
    check_declared(options.config)
    if options.contract is not None:
        options.contract.to_json()  # now, before anything runs
    if options.profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)} (got {options.profile!r})")
    if options.max_examples is not None and options.max_examples < 1:
        raise ValueError(f"max_examples must be at least 1 (got {options.max_examples})")
    if options.seed is not None and not 0 <= options.seed <= _LARGEST_SEED:
        raise ValueError(f"seed must be between 0 and {_LARGEST_SEED} (got {options.seed})")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"jobs must be at least 1 (got {options.jobs})")
    chosen = devices.choose((*options.devices, *options.require_devices))
    absent = [device for device in devices.choose(options.require_devices) if device.missing]
    if absent:
        raise ValueError(f"device {absent[0].name} is required, and is not there: {absent[0].missing}")
    if not chosen:
        raise ValueError("no device is named; write 'cpu', or 'all' for what is there")
    profile = PROFILES[options.profile]
    fresh = random.SystemRandom().randrange(_LARGEST_SEED) if profile.fresh_seed else 0
    checks = select(options.checks, options.skip)
    if not checks:
        raise ValueError("no check is left: everything that was chosen is skipped, too")
    if not items_of(checks, chosen):
        wanted = sorted({kind for item in checks for kind in item.on})
        raise ValueError(
            f"the chosen checks run on {', '.join(wanted)} alone; add a device of these (got "
            f"{', '.join(device.name for device in chosen)})"
        )
    resolved = RunOptions(
        checks=checks,
        profile=profile if options.shrink else replace(profile, shrinks=0),
        seed=fresh if options.seed is None else options.seed,
        jobs=options.jobs or min(os.cpu_count() or 1, _MOST_JOBS),
        devices=chosen,
        max_examples=options.max_examples,
        arguments=options.arguments,
        strict=options.strict,
        replay=options.seed is None if options.replay is None else options.replay,
        database=options.database,
        contract=options.contract,
        expected_failures=_expected(options.expected_failures),
        pins=pins.read(pins.place(Path.cwd())),
        place=options.place,
        extensions=options.extensions,
        adapter="" if options.adapter is None else adapter_name(options.adapter),
    )
    said = options.config.targets
    return replace(resolved, targets={name: _of_target(resolved, options, name) for name in said})


def _of_target(resolved: RunOptions, options: Options, target: str) -> RunOptions:
    """What is asked for of one target of a configuration.

    Raises:
        ConfigError: the configuration names a check that there is not.
    """
    said = options.config.targets[target]
    try:
        checks = select(said.checks or options.checks, (*options.skip, *said.skip))
        expected = _expected(
            {
                name: f"{waiver.reason}{(waiver.until and f' (until {waiver.until})') or ''}"
                for name, waiver in said.expected_failures.items()
                if not waiver.expired(datetime.date.today())
            }
        )
    except ValueError as error:
        raise options.config.error(("targets", target), str(error)) from None
    own = replace(options, **said.options)
    profile = resolved.profile if own.profile == options.profile else PROFILES[own.profile]
    arguments = {**said.arguments, **resolved.arguments}
    contract = resolved.contract or whole_contract(options.config, target)
    if contract is not None and resolved.contract is None:
        contract = with_fixed(contract, arguments)
    # An argument has one of its values while the contract is inferred, and all of them afterwards.
    simplest = {name: values[0] for name, values in said.hyperparameters.items()}
    return replace(
        resolved,
        checks=checks,
        profile=profile if options.shrink else replace(profile, shrinks=0),
        max_examples=own.max_examples,
        devices=devices.choose((*own.devices, *options.require_devices)),
        arguments={**said.arguments, **simplest, **resolved.arguments},
        contract=contract,
        adapter=resolved.adapter or said.adapter,
        expected_failures={**expected, **resolved.expected_failures},
        declared=said.without(resolved.arguments),
    )


def _expected(failures: Mapping[str, str]) -> dict[str, str]:
    """Expected failures by code, or by code and device.

    Raises:
        ValueError: one is of no check, of several, or has no reason.
    """
    found: dict[str, str] = {}
    for text, reason in failures.items():
        name, at, device = text.partition("@")
        matching = select([name])
        if len(matching) > 1:
            raise ValueError(f"expected_failures: '{text}' means {len(matching)} checks; name each with its reason")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"expected_failures: '{text}' needs a reason (got {reason!r})")
        key = f"{matching[0].code}{at}{device and devices.choose([device])[0].name}"
        if key in found:
            raise ValueError(f"expected_failures: {matching[0].code} is named twice")
        found[key] = reason.strip()
    return found


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
            self._runner.pool.start()
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
