"""The pytest plugin: options, hooks and fixtures. Importing it imports neither torch nor Hypothesis nor rich.

``pytest --rnn-props package.module:MyLSTM`` (repeatable), or targets in the ini option ``rnn_props_targets``, add items
such as ``package.module:MyLSTM::MyLSTM-RP201-state.continuity-cpu`` to the session. A check's cases run in worker
processes, so a target that crashes costs one item, not the session.
"""

from __future__ import annotations

import datetime
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from rnn_props import pytest_items as items
from rnn_props.pytest_items import CheckFailedError, RnnPropsWarning

if TYPE_CHECKING:
    import torch

    from rnn_props.options import Options

__all__ = ["CheckFailedError", "RnnPropsWarning"]

#: By name alone: asking the registry would import torch. A test holds the two together.
FAMILIES = (
    "batch", "device", "grad", "lengths", "layout", "life", "mode", "nan", "numeric", "oracle", "packed", "reject",
    "shape", "state", "time", "type",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rnn-props", "property-based checks of recurrent PyTorch modules")

    def several(name: str, metavar: str, text: str, **keywords: Any) -> None:
        group.addoption(name, action="append", default=[], metavar=metavar, help=f"{text} (repeatable)", **keywords)

    several(
        "--rnn-props",
        "TARGET",
        "add the checks of a module: package.module:attribute or path/to/file.py:attribute",
        dest="rnn_props_targets",
    )
    several("--rnn-props-checks", "GLOB", "only checks whose code or name matches; default: all")
    several("--rnn-props-skip", "GLOB", "no checks whose code or name matches; default: none")
    several("--rnn-props-device", "NAME", "device to run on: cpu, sim, cuda, cuda:N, mps or all; default: cpu")
    group.addoption(
        "--rnn-props-profile",
        default=None,
        metavar="NAME",
        help="quick, default or nightly (default: that of [tool.rnn_props], else default)",
    )
    group.addoption(
        "--rnn-props-max-examples",
        type=int,
        metavar="N",
        help="the most cases that a check gets (default: those of --hypothesis-profile if that is given, else the "
        "profile's)",
    )
    group.addoption(
        "--rnn-props-seed",
        type=int,
        metavar="N",
        help="decides every case (default: --hypothesis-seed if that is given, else the profile's)",
    )
    group.addoption(
        "--rnn-props-strict", action="store_true", help="advice and what torch itself does wrong are failures"
    )
    parser.addini("rnn_props_devices", "devices of the fixture rnn_props_device", type="linelist", default=[])
    parser.addini("rnn_props_targets", "modules whose checks are part of the session", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rnn_props: a check of a recurrent module")
    for family in FAMILIES:
        config.addinivalue_line("markers", f"rnn_props_{family}: a check of a recurrent module, of the family {family}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Refuse options that mean nothing before anything is collected, and take node ids of targets for ours."""
    config = session.config
    targets = items.targets_of(config)
    if not targets:
        return
    ours = [argument for argument in config.args if items.target_of(argument, targets)]
    if ours:
        config.stash[items.NODE_IDS] = ours
        config.args = [argument for argument in config.args if argument not in ours]
    from rnn_props.options import resolve

    try:
        config.stash[items.OPTIONS] = options_of(config)
        resolve(config.stash[items.OPTIONS])
    except ValueError as error:
        raise pytest.UsageError(f"rnn-props: {error}") from None
    items.warn_of_duplicates(config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the targets beside what the session itself collects."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed and items.OPTIONS in collector.config.stash:
        report.result.extend(items.collectors(collector))
    return report


def options_of(config: pytest.Config) -> Options:
    """What is asked for: our options, where they leave it open Hypothesis's, and then `[tool.rnn_props]`."""
    from rnn_props import config as files
    from rnn_props.options import Options

    given = {
        "checks": tuple(config.getoption("--rnn-props-checks")),
        "skip": tuple(config.getoption("--rnn-props-skip")),
        "profile": config.getoption("--rnn-props-profile"),
        "devices": tuple(config.getoption("--rnn-props-device")),
        "strict": config.getoption("--rnn-props-strict"),
        "seed": config.getoption("--rnn-props-seed"),
        "max_examples": config.getoption("--rnn-props-max-examples"),
    }
    chosen = items.hypothesis_options(config) | {
        name: value for name, value in given.items() if value is not None and value is not False and value != ()
    }
    said = files.read(files.find(config.rootpath))
    for text in said.expired(datetime.date.today()):
        config.issue_config_time_warning(pytest.PytestConfigWarning(f"rnn-props: {text}"), stacklevel=2)
    wanted = {**said.under(chosen), "jobs": 1, "place": items.worker_number()}
    if items.is_derandomized(config):
        wanted.setdefault("seed", 0)
    return Options(**wanted)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the report of a parametrised test the properties of the check that it called."""
    callspec = getattr(item, "callspec", None)
    check = None if callspec is None else callspec.params.get("check")
    if call.when == "call" and isinstance(check, items.ParametrizedCheck):
        item.user_properties += items.properties(check.result)
    report = yield
    crash = getattr(report.longrepr, "reprcrash", None)
    if isinstance(check, items.ParametrizedCheck) and crash is not None:
        crash.message = crash.message.removeprefix("AssertionError: ").partition("\n")[0]  # for the short summary
    return report


# -- fixtures ----------------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a device or a dtype runs once on each."""
    if "rnn_props_device" in metafunc.fixturenames:
        metafunc.parametrize("rnn_props_device", items.fixture_devices(metafunc.config), indirect=True)
    if "rnn_props_dtype" in metafunc.fixturenames:
        metafunc.parametrize("rnn_props_dtype", ("float64", "float32", "bfloat16", "float16"), indirect=True)


@pytest.fixture
def rnn_props_device(request: pytest.FixtureRequest) -> str:
    """The name of a device, ready to be used; tests that take it run once on each.

    Those are the devices of `--rnn-props-device`, or else of the ini option `rnn_props_devices`, or else the CPU and
    every real accelerator that is there; without any, the simulated one. A device that is not there is skipped.
    """
    from rnn_props import devices

    missing = devices.why_not(request.param)
    if missing:
        pytest.skip(missing)
    devices.set_up(request.param)
    return str(request.param)


@pytest.fixture
def rnn_props_dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """A floating-point dtype; tests that take it run in float64, float32, bfloat16 and float16."""
    import torch

    found: torch.dtype = getattr(torch, request.param)
    return found


@pytest.fixture(scope="session")
def rnn_props_seed(pytestconfig: pytest.Config) -> int:
    """The seed of the session: `--rnn-props-seed`, or else a number given by `--hypothesis-seed`, or else 0."""
    given = pytestconfig.getoption("--rnn-props-seed")
    seed: int = given if given is not None else items.hypothesis_options(pytestconfig).get("seed", 0)
    return seed
