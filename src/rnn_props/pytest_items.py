"""Checks as pytest's items: collected for targets of the command line, or as parameters of a test function."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from hypothesis import settings

    from rnn_props.api import BoundCheck, TargetChecks
    from rnn_props.execution.outcomes import CheckResult

#: The options of the session, once they are known to be sound.
OPTIONS = pytest.StashKey[Any]()
#: Node ids of the command line that are ours.
NODE_IDS = pytest.StashKey[list[str]]()


class CheckFailedError(AssertionError):
    """A check failed; the message begins with its code and name."""


class RnnPropsWarning(UserWarning):
    """Advice: legal, but worth knowing."""


# -- what the session is asked for -------------------------------------------------------------------------------------


def targets_of(config: pytest.Config) -> list[str]:
    """Targets of the command line and the ini file, each once."""
    return list(dict.fromkeys([*config.getoption("rnn_props_targets"), *config.getini("rnn_props_targets")]))


def warn_of_duplicates(config: pytest.Config) -> None:
    for given in (config.getoption("rnn_props_targets"), config.getini("rnn_props_targets")):
        for target in dict.fromkeys(given):
            if given.count(target) > 1:
                text = f"rnn-props: {target} is named {given.count(target)} times; it is checked once"
                config.issue_config_time_warning(pytest.PytestConfigWarning(text), stacklevel=2)


def target_of(argument: str, targets: Sequence[str]) -> str | None:
    """The target that an argument of pytest's is the node id of, or of one of whose checks."""
    return next((target for target in targets if argument == target or argument.startswith(f"{target}::")), None)


def hypothesis_options(config: pytest.Config) -> dict[str, Any]:
    """What Hypothesis's own options say, where they are given, as keywords of `rnn_props.Options`."""
    found: dict[str, Any] = {}
    seed = config.getoption("--hypothesis-seed", None)
    if seed is not None:
        try:
            found["seed"] = int(seed)
        except ValueError:
            if seed != "random":
                raise ValueError(f"--hypothesis-seed must be a number or 'random' (got {seed!r})") from None
            from random import SystemRandom

            found["seed"] = SystemRandom().randrange(2**32)
    if (profile := _hypothesis_profile(config)) is not None:
        phases = {phase.name for phase in profile.phases}
        found |= {"max_examples": profile.max_examples, "database": profile.database}
        found |= {} if "shrink" in phases else {"shrink": False}
        found |= {} if "reuse" in phases and not profile.derandomize else {"replay": False}
    return found


def is_derandomized(config: pytest.Config) -> bool:
    """Whether a profile of Hypothesis's asks for the same cases every time."""
    profile = _hypothesis_profile(config)
    return profile is not None and profile.derandomize


def verbosity(config: pytest.Config) -> str:
    """How much Hypothesis's options ask to be told: `quiet`, `normal`, `verbose` or `debug`."""
    given = config.getoption("--hypothesis-verbosity", None)
    profile = _hypothesis_profile(config)
    return given or ("normal" if profile is None else profile.verbosity.name)


def _hypothesis_profile(config: pytest.Config) -> settings | None:
    """The profile that `--hypothesis-profile` names, loaded by Hypothesis's own plugin; None where none is named."""
    if not config.getoption("--hypothesis-profile", None):
        return None
    from hypothesis import settings

    return settings()


def worker_number() -> int:
    """The number of this process among those of pytest-xdist."""
    digits = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    return int(digits) if digits.isdigit() else 0


def fixture_devices(config: pytest.Config) -> list[str]:
    """The devices on which tests run that take the fixture.

    Raises:
        UsageError: a name means none.
    """
    from rnn_props import devices

    named = config.getoption("--rnn-props-device") or config.getini("rnn_props_devices")
    try:
        if named:
            return [device.name for device in devices.choose(named)]
    except ValueError as error:
        raise pytest.UsageError(f"rnn-props: {error}") from None
    real = [device.name for device in devices.available() if device.kind != "sim"]
    return real if len(real) > 1 else ["cpu", "sim"]


# -- items -------------------------------------------------------------------------------------------------------------


def collectors(session: pytest.Session) -> Iterator[pytest.Collector]:
    """A collector for each target, or for those that node ids of the command line name."""
    config = session.config
    targets = targets_of(config)
    asked = [target_of(argument, targets) for argument in config.stash.get(NODE_IDS, [])]
    short = [target.rpartition(":")[2].rpartition(".")[2] for target in targets]
    for target, name in zip(targets, short, strict=True):
        if asked and target not in asked:
            continue
        label = name if short.count(name) == 1 else target
        # The id is the target: it heads the line of dots, and `pytest TARGET::ITEM` runs one item.
        yield RnnPropsTarget.from_parent(
            session, name=target, nodeid=target, path=Path(config.rootpath / target), label=label
        )


class RnnPropsTarget(pytest.Collector):
    """One target; its checks are its items. It is imported when the first of them runs."""

    def __init__(self, *, label: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._label = label

    def collect(self) -> Iterator[pytest.Item]:
        from rnn_props.api import TargetChecks

        checks = TargetChecks(self.name, self.config.stash[OPTIONS])
        self.config.add_cleanup(checks.close)
        asked = self.config.stash.get(NODE_IDS, [])
        found = [
            RnnPropsCheck.from_parent(self, name=f"{self._label}-{item}", checks=checks, item=item)
            for item in checks.items
        ]
        ids = {item.nodeid for item in found}
        for argument in asked:
            if argument.startswith(f"{self.name}::") and argument not in ids:
                raise self.CollectError(
                    f"there is no {argument.partition('::')[2]} of {self.name}; `pytest --co` lists them"
                )
        for item in found:
            if not asked or item.nodeid in asked or self.nodeid in asked:
                yield item


class RnnPropsCheck(pytest.Item):
    """One check of one target on one device."""

    def __init__(self, *, checks: TargetChecks, item: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.checks = checks
        self.key = item.key
        self.add_marker("rnn_props")
        family = f"rnn_props_{item.check.family}"
        if not any(line.startswith(f"{family}:") for line in self.config.getini("markers")):  # of a check of one's own
            self.config.addinivalue_line("markers", f"{family}: a check of a recurrent module")
        self.add_marker(family)

    def runtest(self) -> None:
        from rnn_props.targets import TargetError

        together = [
            item for item in self.session.items if isinstance(item, RnnPropsCheck) and item.checks is self.checks
        ]
        try:
            result = self.checks.run(self.key, [item.key for item in together])
        except TargetError as error:
            if self is not together[0]:  # one target that can't be used is one failure
                _skip(f"blocked: {self.checks.target} can't be used (see {together[0].name})")
            raise CheckFailedError(f"rnn-props cannot use {error}") from None
        self.user_properties += properties(result)
        self._tell(result)
        conclude(result, quiet=verbosity(self.config) == "quiet")

    def _tell(self, result: CheckResult) -> None:
        """What Hypothesis's options ask to be told."""
        if self.config.getoption("--hypothesis-show-statistics", False):
            self.hypothesis_statistics = f"{self.nodeid}:\n\n{statistics(result)}"
        if verbosity(self.config) in ("verbose", "debug"):
            for case in self.checks.cases(self.key):
                sys.stdout.write(f"Trying example: {case!r}\n")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if not isinstance(excinfo.value, CheckFailedError):
            return super().repr_failure(excinfo, style)
        shown = excinfo.getrepr(style="value")
        if shown.reprcrash is not None:  # what the line of the short summary says
            shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
        return shown

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, 0, f"[{self.name}]"  # in brackets pytest leaves the dots of the name alone


def properties(result: CheckResult | None) -> list[tuple[str, object]]:
    """What JUnit files say of a check."""
    if result is None:
        return []
    found: list[tuple[str, object]] = [
        ("rnn_props_code", result.code),
        ("rnn_props_check", result.check),
        ("rnn_props_device", result.device),
        ("rnn_props_status", result.status),
        ("rnn_props_examples", result.examples),
    ]
    return found + [("rnn_props_case_id", finding.case_id) for finding in result.findings[:1] if finding.case_id]


def statistics(result: CheckResult) -> str:
    """What `--hypothesis-show-statistics` prints of a check, in Hypothesis's manner."""
    spent = f", {result.time_in_target_s / result.duration_s:.0%} of it inside the module" if result.duration_s else ""
    lines = [
        f"  - {result.status.replace('_', ' ')} after {result.examples} examples and {result.discarded} discarded "
        f"ones, in {result.duration_s:.2f} seconds{spent}"
    ]
    if result.replayed:
        lines.append(f"  - {result.replayed} of them were failures of earlier runs")
    if result.until_failure:
        lines.append(f"  - the first failure was example {result.until_failure}")
    return "\n".join(lines)


def conclude(result: CheckResult, *, quiet: bool = False) -> None:
    """Turn a result into pytest's terms.

    Args:
        result: of a check.
        quiet: whether a failure is told in its first line alone.

    Raises:
        CheckFailedError: it failed, or was expected to and no longer does.
    """
    __tracebackhide__ = True
    from rnn_props.reporting.failure import failure_text

    if result.wrong:
        text = failure_text(result)
        raise CheckFailedError(text.partition("\n")[0] if quiet else text)
    if result.status == "expected_failure":
        pytest.xfail(f"{result.reason} ({result.message.partition(chr(10))[0]})")
    if result.status == "warned":
        own = "torch's own: " if result.inherited_from_torch else ""
        warnings.warn(RnnPropsWarning(f"{result.code} {result.check}: {own}{result.message}"), stacklevel=2)
    if result.status in ("not_applicable", "blocked", "skipped"):
        _skip(f"{result.status.replace('_', ' ')}: {result.reason}")


def _skip(reason: str) -> NoReturn:
    # At the item's own place: pytest puts skips of one reason on one line.
    raise pytest.skip.Exception(reason, _use_item_location=True)


# -- in a test file ----------------------------------------------------------------------------------------------------


class ParametrizedCheck:
    """One check of one target, as the parameter `check` of a test function. Call it."""

    def __init__(self, bound: BoundCheck) -> None:
        self._bound = bound
        self.result: CheckResult | None = None

    @property
    def code(self) -> str:
        return self._bound.check.code

    def __call__(self) -> CheckResult:
        """Run the check. In pytest's terms it passes, fails, skips, or fails as expected.

        Raises:
            AssertionError: it failed, or was expected to and no longer does, or the target can't be used.
        """
        __tracebackhide__ = True
        from rnn_props.targets import TargetError

        try:
            self.result = self._bound.checks.run(self._bound.item.key)
            conclude(self.result)
        except (CheckFailedError, TargetError) as error:
            text = f"rnn-props cannot use {error}" if isinstance(error, TargetError) else str(error)
            raise AssertionError(text) from None  # told as shortly as an assertion of the test's own
        return self.result

    def __repr__(self) -> str:
        return f"<check {self._bound.item} of {self._bound.checks.target}>"


def parametrize(
    target: Any, *, expected_failures: Mapping[str, str] | None = None, **options: Any
) -> pytest.MarkDecorator:
    """Run a test function, or every test of a class, once for each check of a target, as its argument `check`.

    ::

        @rnn_props.parametrize(MyLSTM, expected_failures={"RP301": "batch norm by design"})
        def test_my_lstm(check):
            check()

    Args:
        target: as in `rnn_props.check`: a class, a factory or an instance at the top level of a module, its name as
            text, or a `Contract`.
        expected_failures: checks that are expected to fail, by code or name, each with the reason. Their failures are
            xfailed; a check that no longer fails, fails as stale.
        options: as in `rnn_props.Options`, such as `contract`, `profile`, `checks`, `devices`.

    Raises:
        TargetError: the object has no name that worker processes could import it by.
        ValueError: an option is out of range, or names a check that there is not.
    """
    from rnn_props.api import checks_for

    options = {"jobs": 1, "place": worker_number(), **options}
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                ParametrizedCheck(bound),
                id=str(bound.item),
                marks=[pytest.mark.rnn_props, getattr(pytest.mark, f"rnn_props_{bound.check.family}")],
            )
            for bound in checks_for(target, expected_failures=expected_failures or {}, **options)
        ],
    )
