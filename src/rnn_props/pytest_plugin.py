"""The pytest plugin: one item a check and target. Importing it imports neither torch nor Hypothesis.

``pytest --rnn-props package.module:MyLSTM`` (repeatable), or targets in the ini option ``rnn_props_targets``, add items
such as ``MyLSTM-RP201-state.continuity-cpu`` to the session. A check's cases run in worker processes, so a target that
crashes costs one item, not the session.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from rnn_props.api import TargetChecks
    from rnn_props.execution.outcomes import CheckResult


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rnn-props", "property-based checks of recurrent PyTorch modules")
    group.addoption(
        "--rnn-props",
        action="append",
        default=[],
        metavar="TARGET",
        dest="rnn_props_targets",
        help="add the checks of a module: package.module:attribute or path/to/file.py:attribute (repeatable)",
    )
    group.addoption(
        "--rnn-props-checks",
        action="append",
        default=[],
        metavar="GLOB",
        help="only checks whose code or name matches (repeatable; default: all)",
    )
    group.addoption(
        "--rnn-props-skip",
        action="append",
        default=[],
        metavar="GLOB",
        help="no checks whose code or name matches (repeatable; default: none)",
    )
    group.addoption(
        "--rnn-props-profile",
        default="default",
        metavar="NAME",
        help="quick, default or nightly (default: default)",
    )
    group.addoption(
        "--rnn-props-device",
        action="append",
        default=[],
        metavar="NAME",
        help="device to run on: cpu, sim, cuda, cuda:N, mps or all (repeatable; default: cpu)",
    )
    group.addoption(
        "--rnn-props-seed",
        type=int,
        default=None,
        metavar="N",
        help="decides every case (default: that of the profile)",
    )
    group.addoption(
        "--rnn-props-strict", action="store_true", help="advice and what torch itself does wrong are failures"
    )
    parser.addini("rnn_props_targets", "modules whose checks are part of the session", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rnn_props: a check of a recurrent module")


def pytest_collection(session: pytest.Session) -> None:
    """Refuse options that mean nothing before anything is collected."""
    if not _targets(session.config):
        return
    from rnn_props.api import resolve

    try:
        resolve(_options(session.config))
    except ValueError as error:
        raise pytest.UsageError(f"rnn-props: {error}") from None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the targets' collector beside what the session itself collects."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed and _targets(collector.config):
        report.result.append(RnnPropsCollector.from_parent(collector, name="rnn_props", nodeid="::rnn_props"))
    return report


def _targets(config: pytest.Config) -> list[str]:
    """Targets of the command line and the ini file, each once."""
    return list(dict.fromkeys([*config.getoption("rnn_props_targets"), *config.getini("rnn_props_targets")]))


def _options(config: pytest.Config) -> Any:
    from rnn_props.api import Options

    return Options(
        checks=tuple(config.getoption("--rnn-props-checks")),
        skip=tuple(config.getoption("--rnn-props-skip")),
        profile=config.getoption("--rnn-props-profile"),
        devices=tuple(config.getoption("--rnn-props-device")) or ("cpu",),
        seed=config.getoption("--rnn-props-seed"),
        strict=config.getoption("--rnn-props-strict"),
        jobs=1,
    )


class RnnPropsCollector(pytest.Collector):
    """All targets of the session."""

    def collect(self) -> Iterator[pytest.Item]:
        from rnn_props.api import TargetChecks

        short = [target.rpartition(":")[2].rpartition(".")[2] for target in _targets(self.config)]
        for target, name in zip(_targets(self.config), short, strict=True):
            label = name if short.count(name) == 1 else target
            checks = TargetChecks(target, _options(self.config))
            self.config.add_cleanup(checks.close)
            for item in checks.items:
                name = f"{label}-{item.check.code}-{item.check.name}-{item.device}"
                yield CheckItem.from_parent(self, name=name, checks=checks, key=item.key)


class CheckItem(pytest.Item):
    """One check of one target."""

    def __init__(self, *, checks: TargetChecks, key: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._checks = checks
        self._key = key
        self.add_marker("rnn_props")

    def runtest(self) -> None:
        from rnn_props.targets import TargetError

        try:
            result = self._checks.run(self._key)
        except TargetError as error:
            raise CheckFailedError(f"rnn-props cannot use {error}") from None
        self.user_properties += [("rnn_props_code", result.code), ("rnn_props_examples", result.examples)]
        if result.findings:
            self.user_properties.append(("rnn_props_case_id", result.findings[0].case_id))
        _conclude(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, CheckFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, f"[{self.name}]"  # in brackets pytest leaves the dots of the name alone


class CheckFailedError(AssertionError):
    """A check failed; the message begins with its code and name."""


def _conclude(result: CheckResult) -> None:
    """Turn a result into pytest's terms."""
    from rnn_props.reporting.failure import failure_text

    if result.status in ("failed", "error"):
        raise CheckFailedError(failure_text(result))
    if result.status == "warned":
        own = "torch's own: " if result.inherited_from_torch else ""
        warnings.warn(RnnPropsWarning(f"{result.code} {result.check}: {own}{result.message}"), stacklevel=1)
    if result.status in ("not_applicable", "blocked", "skipped"):
        _skip(f"{result.status.replace('_', ' ')}: {result.reason}")


class RnnPropsWarning(UserWarning):
    """Advice: legal, but worth knowing."""


def _skip(reason: str) -> NoReturn:
    pytest.skip(reason)
